// Turns stored values into grey levels: the DICOM grayscale pipeline (PS3.3 C.11), as a screen applies it.
// A table has the grey level of every value that a pixel can hold. The arithmetic is that of
// comit_ray.data.images.dicom_display, in float64.

export class Values {
  // Content of an answer of /api/values: header, grey levels as screened, modality values, pixels.
  constructor(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    Object.assign(this, JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))));
    this.count = this.bits === 8 ? 256 : 65536;
    let at = 4 + length;
    this.asScreened = new Uint8Array(buffer, at, this.count);
    at += this.count;
    if (this.modality_table) {
      this.modality = new Float64Array(buffer.slice(at, at + 8 * this.count));
      at += 8 * this.count;
    }
    const Pixels = this.bits === 8 ? Uint8Array : Uint16Array;
    this.pixels = new Pixels(buffer, at, this.width * this.height);
  }

  stored(pattern) {
    return this.signed && pattern >= this.count / 2 ? pattern - this.count : pattern;
  }

  measured(pattern) {
    if (this.modality) return this.modality[pattern];
    return this.stored(pattern) * this.slope + this.intercept;
  }
}

export function share(value, { center, width, function: kind }) {
  // Applies a window to a value: 0 is black, 1 is white (C.11.2.1.2, C.11.2.1.3).
  let shown;
  if (kind === "LINEAR") {
    if (width === 1) return value > center - 0.5 ? 1 : 0;
    shown = (value - (center - 0.5)) / (width - 1) + 0.5;
  } else if (kind === "SIGMOID") {
    shown = 1 / (1 + Math.exp(Math.min(700, Math.max(-700, (-4 * (value - center)) / width))));
  } else {
    shown = (value - center) / width + 0.5;
  }
  return Math.min(1, Math.max(0, shown));
}

export function sameWindow(window, from, to) {
  // Finds the window of a second image that matches a window of the first. If both images mean the same by their
  // values, it has the same numbers. Otherwise it is the preset of the same name, or else the same share of the whole
  // range (for example for a picture of 8 bits beside a file of 12 bits).
  if (window === null) return null;
  const meaning = ["bits_stored", "signed", "slope", "intercept", "inverted", "modality_table"];
  if (meaning.every((name) => from[name] === to[name])) return window;
  const named = to.presets.find((one) => one.name === window.name);
  if (named) return named;
  const [whole, other] = [from, to].map((values) => values.presets.find((one) => one.name === "full"));
  const scale = other.width / whole.width;
  const turned = from.inverted === to.inverted ? 1 : -1;
  return { center: other.center + turned * (window.center - whole.center) * scale, width: Math.max(1, window.width * scale),
    function: window.function };
}

export function rounded(value) {
  // Rounds half to even, like numpy.rint.
  const low = Math.floor(value);
  const rest = value - low;
  if (rest === 0.5) return low % 2 === 0 ? low : low + 1;
  return rest < 0.5 ? low : low + 1;
}

export function table(values, window, inverted) {
  // Computes the grey level of every possible value; window null: as screened.
  const found = new Uint8Array(values.count);
  for (let pattern = 0; pattern < values.count; pattern++) {
    let grey;
    if (window === null) {
      grey = values.asScreened[pattern];
    } else {
      const stored = values.stored(pattern);
      const padded = values.padding && stored >= values.padding[0] && stored <= values.padding[1];
      let shown = share(values.measured(pattern), window);
      if (values.inverted) shown = 1 - shown;
      grey = padded ? 0 : rounded(shown * 255);
    }
    found[pattern] = inverted ? 255 - grey : grey;
  }
  return found;
}

export function paint(values, greys) {
  // Makes the whole image as RGBA.
  const image = new ImageData(values.width, values.height);
  const colours = new Uint32Array(values.count);
  for (let i = 0; i < values.count; i++) colours[i] = 0xff000000 | (greys[i] * 0x010101);
  const out = new Uint32Array(image.data.buffer);
  const pixels = values.pixels;
  for (let i = 0; i < pixels.length; i++) out[i] = colours[pixels[i]];
  return image;
}

export function paintPart(values, greys, view, width, height) {
  // Makes only the part that a canvas of width x height shows, by the nearest pixel: fast enough to follow a drag.
  const image = new ImageData(width, height);
  const colours = new Uint32Array(values.count);
  for (let i = 0; i < values.count; i++) colours[i] = 0xff000000 | (greys[i] * 0x010101);
  const out = new Uint32Array(image.data.buffer);
  const columns = new Int32Array(width);
  for (let x = 0; x < width; x++) {
    const column = Math.floor((x + 0.5 - view.left) / view.scale);
    columns[x] = column >= 0 && column < values.width ? column : -1;
  }
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y + 0.5 - view.top) / view.scale);
    if (row < 0 || row >= values.height) continue;
    const start = row * values.width;
    const to = y * width;
    for (let x = 0; x < width; x++) if (columns[x] >= 0) out[to + x] = colours[values.pixels[start + columns[x]]];
  }
  return image;
}
