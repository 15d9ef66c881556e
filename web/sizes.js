// Stand-in until the exact sizes are merged.

import { Refusal, still } from "./pictures.js";
import { TEXTS } from "./texts.js";

export function planOf(picture, { width }) {
  const scale = [2, 3, 4].find((each) => picture.width * each >= width);
  if (!scale) throw new Refusal(TEXTS.tooWide(width, picture.width));
  return { scale, width, height: Math.max(1, Math.round((picture.height * width) / picture.width)) };
}

export async function sized(result, width, height) {
  const [from, to] = [new OffscreenCanvas(result.width, result.height), new OffscreenCanvas(width, height)];
  for (const { top, pixels } of result.strips) from.getContext("2d").putImageData(pixels, 0, top);
  const context = to.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(from, 0, 0, width, height);
  return still(context.getImageData(0, 0, width, height), result.alpha);
}
