// The settings in the address's fragment, so that a link or a reload brings them back; what is as at first is left out.

const DEFAULTS = { example: "", scale: "3", width: "1920", network: "fsrcnn", restore: "auto", format: "png", quality: "90" };

const between = (least, most) => (value) => value !== "" && Number(value) >= least && Number(value) <= most;
// Which values stand for themselves; of the others, and of those that no control offers, the first ones hold.
const VALID = {
  width: (value) => Number.isInteger(Number(value)) && between(1, 65535)(value),
  restore: (value) => value === "auto" || between(0, 1)(value),
  quality: between(1, 100),
};

/** The settings that the address holds, each a string. */
export function readAddress() {
  const held = [...new URLSearchParams(location.hash.slice(1))].filter(([name, value]) =>
    Object.hasOwn(DEFAULTS, name) && (!Object.hasOwn(VALID, name) || VALID[name](value)));
  return { ...DEFAULTS, ...Object.fromEntries(held) };
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
