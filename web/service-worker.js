// Caches the page's files for offline use; online, they come from the server.

const NAME = "fsrcnn";
const PAGE = ["./", "style.css", "icon.svg", "icon.png", "handle.svg", "preview.jpg", "manifest.webmanifest"];
const SCRIPTS = [
  ...["address", "alpha", "encoder", "examples", "films", "fsrcnn", "layers", "page", "pictures", "planes", "png"],
  ...["pool", "quality", "queue", "rasters", "resize", "save", "saving", "scores", "sizes", "svg", "texts", "view"],
  "worker",
];
const PICTURES = { astronaut: "png", text: "png", coffee: "jpg", drawing: "png", sky: "png" };
const SMALL = Object.entries(PICTURES).flatMap(([name, suffix]) => [2, 3, 4].map((scale) => `${name}_x${scale}.${suffix}`));
const EXAMPLES = [...Object.keys(PICTURES).map((name) => `${name}.png`), ...SMALL, "motorcycle.png", "motorcycle.webm"];
const STRENGTHS = Array.from({ length: 20 }, (_, step) => 5 * step + 5);
const NETWORK = [".wasm", ".relaxed.wasm", ...STRENGTHS.map((strength) => `_restore${strength}.words`)];
const MODULES = ["fsrcnn", "fsrcnn_s"].flatMap((variant) =>
  [2, 3, 4].flatMap((scale) => NETWORK.map((file) => `${variant}_x${scale}${file}`)));
const MADE = [...EXAMPLES, ...MODULES].map((name) => `made/${name}`);
const FILES = [...PAGE, ...SCRIPTS.map((name) => `${name}.js`), ...MADE];

addEventListener("install", (event) => {
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(NAME);
  try {
    const response = await fetch(request);
    if (response.status === 200) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (!kept) throw error;
    return kept;
  }
}
