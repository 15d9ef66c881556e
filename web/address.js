// The settings in the address's fragment, so that a link or a reload brings them back; what is as at first is left out.

const DEFAULTS = { example: "", scale: "3", width: "1920", network: "fsrcnn", restore: "auto", format: "png", quality: "90" };

/** The settings that the address holds, each a string. */
export function readAddress() {
  return { ...DEFAULTS, ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))) };
}

/** Writes the settings. pushed: as a new place, from which the browser's Back leads to the earlier one. */
export function writeAddress(settings, state, pushed) {
  const changed = Object.entries(settings).filter(([name, value]) => value !== DEFAULTS[name] && matters(name, settings));
  const fragment = new URLSearchParams(changed).toString();
  const url = `${location.pathname}${location.search}${fragment && "#"}${fragment}`;
  pushed ? history.pushState(state, "", url) : history.replaceState(state, "", url);
}

function matters(name, { scale, format }) {
  return (name !== "width" || scale === "size") && (name !== "quality" || format !== "png");
}
