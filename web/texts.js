// All that the page says, in each language: add one beside `en`, with the same names.

const en = {
  title: "Enlarge pictures and films",
  lead:
    "FSRCNN, a small neural network, makes them two to four times as large: sharper than bicubic interpolation, and " +
    "without the traces of JPEG.",
  limits: "It invents nothing: what is not in the picture stays hidden. Nothing is uploaded; it runs in this browser.",
  links: "About",
  paper: "The paper",
  licence: "Licence",
  how:
    "The network enlarges the luma, bicubic interpolation the colour, as upscale.py does. Results have 8 bits a " +
    "channel, in sRGB. Astronaut and night sky: NASA; coffee: Rachel Michetti; text and drawing: made for this page.",
  limit: (most) => `A result has ${megapixels(most)} at most.`,

  picture: "The picture",
  stage:
    "The picture. Arrow keys move it, plus and minus zoom, 0 fits it, 1 shows it pixel for pixel, Escape goes back to " +
    "the start.",
  slider: "Dividing line between the two pictures",
  nothing: "Open a picture or a film",
  done: "Enlarged so far",
  cancel: "Cancel",
  fit: "Fit",
  whole: "1:1",
  wholeTitle: "One screen pixel for each pixel of the result; a double click does it too",
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  percentTitle: "Zoom: at 100%, each pixel of the result is one of the screen",
  loupe: "Loupe",
  leftSide: "Left",
  bicubic: "bicubic",
  original: "original",
  browser: "browser",
  seek: "Position in the film",
  play: "Play",
  pause: "Pause",
  sound: "Sound",
  close: "Close",
  closeTitle: "Back to the start (Escape)",
  small: (ratio) => `At ${percent(ratio)} the two look much alike: 1:1 shows them pixel for pixel.`,
  touch: "One finger moves the line, two fingers the picture.",

  settings: "Settings",
  choose: "Open pictures or films",
  drop: "or drop them here, or paste",
  dropHere: "Drop to enlarge",
  camera: "Camera",
  scale: "Enlarge",
  anySize: "width",
  width: "Width of the result in pixels",
  pixelsWide: "pixels wide",
  network: "Network",
  best: "best",
  fast: "fast",
  restore: "Remove compression",
  auto: "auto",
  strength: "How strongly compressed pictures are restored",
  chosen: {
    none: "No trace of compression in this picture.",
    file: (quality) => `The file says: compressed, quality about ${quality} of 100.`,
    pixels: (quality) => `The pixels say: once compressed, quality about ${quality} of 100.`,
    film: "Films get a little, whatever their codec.",
    camera: "The camera's film needs none.",
    own: "Set by you, for all pictures.",
  },

  verdict: (part) => `${part} less error than bicubic interpolation:`,
  numbers: (before, after) =>
    `PSNR ${after.psnr.toFixed(2)} dB against ${before.psnr.toFixed(2)}, ` +
    `SSIM ${after.ssim.toFixed(4)} against ${before.ssim.toFixed(4)}.`,
  caption: {
    astronaut: "A photograph, made small and enlarged again",
    text: "A page of text, made small and enlarged again",
    coffee: "A photograph, made small, saved as a JPEG of quality 50, and enlarged again",
    drawing: "A drawing, made small and enlarged again",
    sky: "Hubble's eXtreme Deep Field, made small and enlarged again",
    motorcycle: "A film made of a photograph",
  },

  saveAs: "Save as",
  formats: { "image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WebP" },
  quality: "Quality",
  save: (format) => `Save ${format}`,
  saveFrame: (format) => `Save frame as ${format}`,
  copy: "Copy",
  copied: "Copied to the clipboard.",
  sizeToCome: (bytes) => `about ${size(bytes)}`,
  savedPart: "Saved so far",
  saving: (name) => `Saving ${name} …`,
  saved: (name, bytes) => `Saved ${name}, ${size(bytes)}.`,

  examples: "Examples",
  example: { astronaut: "Photo", text: "Text", coffee: "JPEG", drawing: "Drawing", sky: "Night sky", motorcycle: "Film" },
  files: (count) => `Your files: ${count}`,
  saveAll: "Save all, one by one",
  show: (name) => `Show ${name}`,
  remove: (name) => `Remove ${name}`,
  marks: { "": "", film: "film", working: "…", saved: "saved", other: "saved, other size", refused: "not enlarged", wrong: "not readable" },
  savingAll: (index, count, name) => `Saving ${index} of ${count}: ${name} …`,
  savedAll: (count, left, films) =>
    `Saved ${files(count)}${left ? `; ${files(left)} could not be saved` : ""}.` +
    `${films ? " Of films, single frames can be saved." : ""}`,

  reading: (name) => `Reading ${name} …`,
  waiting: "Waiting for the camera …",
  sizes: (from, to) => `${from.width} × ${from.height} → ${to.width} × ${to.height} pixels`,
  expected: (seconds) => `about ${duration(seconds)}`,
  left: (seconds) => `about ${duration(seconds)} left`,
  finished: (seconds) => `Finished in ${duration(seconds)}`,
  restored: (strength) => `compression removed by ${percent(strength)}`,
  rate: (frames) => `${frames} frames a second`,
  percent: (fraction) => percent(fraction),
  cancelled: "Cancelled; the browser itself enlarges the rest.",

  unreadable: (name) => `${name} is no picture or film that this browser can read.`,
  tooLarge: (pixels, scale, enlarged, most) =>
    `The picture has ${megapixels(pixels)}, at ×${scale} ${megapixels(enlarged)}; this page makes ` +
    `${megapixels(most)} at most. ${scale > 2 ? "Try a smaller scale; " : ""}upscale.py has no such limit.`,
  noWebCodecs: "Films need a browser with WebCodecs, such as a current Chrome, Edge, Firefox or Safari.",
  unplayable: (name) => `${name ?? "The camera's film"} cannot be played by this browser.`,
  noPictures: (name) => `${name} holds no pictures.`,
  tooLargeLive: (width, height, scale) =>
    `${width} × ${height} at ×${scale} is more than this page enlarges live${scale > 2 ? "; choose a smaller scale" : ""}.`,
  cameraNotAllowed: "The camera was not allowed; the browser's settings for this page can allow it.",
  noCamera: "There is no camera here that this browser can use.",
  inexactAlpha: "This browser rounds the colours of translucent pixels.",
  animated: "Of the animation, only the first picture.",
  tooLong: (format, most) => `A ${format} file has at most ${most.toLocaleString("en")} pixels a side; save a PNG.`,
  notWritten: (format) => `This browser cannot write this as ${format}; save a PNG.`,
  tooNarrow: (width, from) => `${width} pixels are not more than the picture's ${from}: nothing is to be enlarged.`,
  tooWide: (width, from) => `${width} pixels are more than four times the picture's ${from}: ${4 * from} at most.`,
  kept: (refusal, scale) => `${refusal} Shown at ×${scale}.`,
  noMemory: "The browser does not have enough memory for this; try a smaller scale.",
  offline: "The network's files could not be loaded: is this computer offline? Try again when it is not.",
  notMade: (file) => `${file} is not on the server: \`make page\` makes it.`,
  noSimd: "This browser has no WebAssembly SIMD, which the network needs; browsers of the last years have it.",
  onlyFiles: "Only files can be dropped here.",
  noPicture: "The clipboard holds no picture.",
  noCopy: "The browser did not allow it to be copied.",
  filmWidth: "Films are enlarged by whole factors; a width is for pictures.",
  badWidth: "The width is a whole number of pixels, such as 1920.",
};

function files(count) {
  return count === 1 ? "one file" : `${count} files`;
}

function percent(fraction) {
  return `${Math.round(100 * fraction)}%`;
}

function megapixels(pixels) {
  const millions = pixels / 1e6;
  return `${millions < 10 ? millions.toFixed(1) : Math.round(millions)} megapixels`;
}

function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 1.5) return "a second";
  if (seconds < 20) return `${Math.round(seconds)} seconds`;
  if (seconds < 90) return `${5 * Math.round(seconds / 5)} seconds`;
  return `${Math.round(seconds / 60)} minutes`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const [number, unit] = bytes < 1e6 ? [bytes / 1e3, "KB"] : [bytes / 1e6, "MB"];
  return `${number < 10 ? number.toFixed(1) : Math.round(number)} ${unit}`;
}

const LANGUAGES = { en };

/** The texts in the first of the user's languages that there is, or in English. */
export const TEXTS = LANGUAGES[navigator.languages.map((tag) => tag.split("-")[0]).find((tag) => tag in LANGUAGES)] ?? en;

/** Puts the texts into the elements that name theirs: as content, name or hint. */
export function translate() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = TEXTS[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", TEXTS[element.dataset.label]);
  for (const element of document.querySelectorAll("[data-title]")) element.title = TEXTS[element.dataset.title];
}
