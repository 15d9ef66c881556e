// Drawings of lines and shapes: drawn at the size that the file gives, for the network to enlarge.

const UNSIZED = { width: 300, height: 150 }; // CSS pixels of a drawing that gives no size, as browsers have it

/** Draws an SVG file. Returns a PNG file of the same name; throws if the browser cannot draw it. */
export async function drawn(file) {
  // Not by DOMParser: the page's policy would apply to the styles in the drawing.
  const text = (await file.text()).replace(/<svg\b[^>]*/, sizedTag);
  const picture = new Image();
  picture.src = URL.createObjectURL(new Blob([text], { type: file.type }));
  try {
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return new File([await canvas.convertToBlob()], file.name, { type: "image/png" });
  } finally {
    URL.revokeObjectURL(picture.src);
  }
}

/** The tag with a width and a height in place of missing or relative ones: Firefox draws nothing without them. */
function sizedTag(tag) {
  const [, width, height] = /\sviewBox\s*=\s*["'][^\s,]+[\s,]+[^\s,]+[\s,]+([\d.]+)[\s,]+([\d.]+)/.exec(tag) ?? [];
  const sizes = { width: width ?? UNSIZED.width, height: height ?? UNSIZED.height };
  return Object.entries(sizes).reduce((sized, [name, length]) => {
    const given = new RegExp(`\\s${name}\\s*=\\s*["']([^"']*)["']`);
    if (/^\s*[\d.]+\s*[a-z]*\s*$/.test(given.exec(sized)?.[1])) return sized;
    return `<svg ${name}="${length}"${sized.replace(given, "").slice("<svg".length)}`;
  }, tag);
}
