// The examples: pictures made small from originals, at each scale, and a film.

/** suffix: of the small pictures. detail: what is shown first, see View.detail. */
export const EXAMPLES = {
  astronaut: { suffix: "png", detail: [0.44, 0.22, 0.55] },
  text: { suffix: "png", detail: [0.28, 0.3, 0.5] },
  coffee: { suffix: "jpg", detail: [0.45, 0.33, 0.6] },
  drawing: { suffix: "png", detail: [0.78, 0.24, 0.38] },
  sky: { suffix: "png", detail: [0.3, 0.4, 0.5] },
  motorcycle: { suffix: "webm" },
};

/** The example's file for a scale. A picture for a width is the one made small by 4. */
export function fileOf(name, scale) {
  const { suffix } = EXAMPLES[name];
  return suffix === "webm" ? `${name}.webm` : `${name}_x${scale}.${suffix}`;
}
