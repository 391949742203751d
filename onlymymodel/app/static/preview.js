// what a change may look like before it is made: the map of where it may go, and noise of that size
const by = (id) => document.getElementById(id);

async function load(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function pixels(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

// the largest change that a stop of the slider admits; linear between the measured ones
export function levelAt(table, stop) {
  let level = 0;
  for (let index = 0; index < table.length; index += 1) {
    const [here, needs] = table[index];
    if (needs <= stop) level = here;
    else {
      const [last, needed] = table[index - 1] ?? [0, 0];
      return stop > needed ? last + ((here - last) * (stop - needed)) / (needs - needed) : level;
    }
  }
  return level;
}

export class Preview {
  constructor() {
    this.element = by("preview");
    this.canvas = this.element.querySelector("canvas");
    this.loads = 0;
    this.stop = 0;
    this.evenly = 0;
    for (const radio of this.element.querySelectorAll("input")) radio.addEventListener("change", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // show the photo with this address; a later call wins over one that still loads
  async show(base, name, region) {
    if (this.base === base && this.region === region) return;
    [this.base, this.region] = [base, region];
    this.loads += 1;
    const mine = this.loads;
    this.element.hidden = !base;
    this.ready = false;
    if (!base) return;
    this.element.querySelector(".of bdi").textContent = this.name = name;
    by("preview-told").textContent = "Looking where the photo may change";
    const [answer, photo, bound, grain, faces] = await Promise.all([
      fetch(`${base}/preview?region=${region}`).then((response) => (response.ok ? response.json() : Promise.reject(new Error("the preview could not be made")))),
      ...["preview", "bound", "grain", ...(region === "face" ? ["faces"] : [])].map((view) => load(`${base}/${view}.png`)),
    ]);
    if (mine !== this.loads) return;
    const { width, height, table } = answer;
    [this.canvas.width, this.canvas.height] = [width, height];
    this.table = table;
    [this.photo, this.bound, this.grain] = [photo, bound, grain].map((image) => pixels(image, width, height));
    this.area = faces && pixels(faces, width, height).data;
    this.found = !this.area || this.area.some((value, at) => at % 4 === 0 && value > 0);
    this.ready = true;
    this.draw();
  }

  // the slider's stop, or a largest change that is the same everywhere
  set(stop, evenly) {
    [this.stop, this.evenly] = [stop, evenly];
    this.draw();
  }

  draw() {
    if (!this.ready) return;
    const mode = this.element.querySelector("input:checked").value;
    const level = this.evenly || levelAt(this.table, this.stop);
    const { data, width, height } = this.photo;
    const out = new ImageData(width, height);
    const [bound, grain] = [this.bound.data, this.grain.data];
    const accent = getComputedStyle(this.canvas).getPropertyValue("--heat").split(",").map(Number);
    for (let at = 0; at < data.length; at += 4) {
      const inside = this.area ? this.area[at] / 255 : 1;
      const share = inside * (this.evenly ? 1 : bound[at] / 255);
      const gray = 0.3 * data[at] + 0.59 * data[at + 1] + 0.11 * data[at + 2];
      const cover = Math.min(1, (share * level) / 12);
      for (let channel = 0; channel < 3; channel += 1) {
        const value = data[at + channel];
        if (mode === "where") out.data[at + channel] = (0.75 * gray + 32) * (1 - cover) + accent[channel] * cover;
        else if (mode === "look") {
          const noise = (grain[at + channel] - 128) / 127;
          out.data[at + channel] = value + level * inside * (this.evenly ? Math.sign(noise) : noise);
        } else out.data[at + channel] = value;
      }
      out.data[at + 3] = 255;
    }
    this.canvas.getContext("2d").putImageData(out, 0, 0);
    this.tell(mode, Math.round(level));
  }

  tell(mode, level) {
    const size = level ? `by up to about ${level}/255` : "by less than 1/255";
    const where = (this.evenly ? "everywhere" : "beside texture; by a tenth of it in smooth parts") + (this.area ? ", in the faces alone" : "");
    const words = {
      where: `Colored: where the photo may change, ${size} ${where}.`,
      look: `Random noise of that size, ${size} ${where}. The change itself is found later, and is about as visible.`,
      photo: "The photo as it is.",
    };
    if (!this.found) words.where = words.look = "No face was found: with this region the photo is skipped.";
    by("preview-told").textContent = words[mode];
    this.canvas.setAttribute("aria-label", `${this.name}. ${words[mode]}`);
  }
}
