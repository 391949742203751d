// one photo on the page: its result, and the comparison before and after

export const ROLES = { authorized: "authorized", surrogate: "stand-in", "held-out": "judge" };
const WORDS = {
  ready: "ready", waiting: "waiting", working: "at work", protected: "protected", "already-misread": "already misread",
  unchanged: "not protected", skipped: "skipped", failed: "failed",
};
const WRITTEN = ["protected", "already-misread"];

export const isWritten = (photo) => WRITTEN.includes(photo.status);

export class Card {
  // the address of its pictures and their kind, and what its buttons do; without that it has no header
  constructor(base, photo, { remove, pick, kind = "png" }) {
    this.base = base;
    this.kind = kind;
    this.name = photo.name;
    this.version = -1;
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.find = find;
    const title = find("h3");
    title.id = `photo-${photo.number}`;
    this.element.setAttribute("aria-labelledby", title.id);
    find("h3 bdi").textContent = photo.name;
    if (pick) find(".thumb").src = `${this.base}/thumb.png`;
    find(".meta").textContent = `${photo.width} × ${photo.height}, ${size(photo.size)}`;
    find(".remove").setAttribute("aria-label", `Remove ${photo.name}`);
    find(".remove").addEventListener("click", remove);
    find(".remove").hidden = !remove;
    find(".pick").setAttribute("aria-label", `Preview ${photo.name}`);
    find(".pick").addEventListener("click", pick);
    find(".pick").disabled = !pick;
    this.prepareLook(photo);
  }

  // whether the preview shows this photo, and whether it can
  mark(shown, possible) {
    const button = this.find(".pick");
    button.setAttribute("aria-pressed", String(shown));
    button.disabled = !possible;
  }

  prepareLook(photo) {
    const range = this.find(".stage input");
    const after = this.find(".after");
    const place = () => {
      // set by script, not by an attribute: the page's policy admits no inline styles
      after.style.clipPath = `inset(0 0 0 ${range.value}%)`;
      range.setAttribute("aria-valuetext", `${range.value}% original, ${100 - range.value}% protected`);
    };
    range.setAttribute("aria-label", `Compare original and protected: ${photo.name}`);
    range.addEventListener("input", place);
    place();
    this.find(".window").setAttribute("aria-label", `${photo.name}, scrolls where it is larger than its frame`);
    for (const group of this.element.querySelectorAll(".tools .chips")) {
      const what = group.classList.contains("zoom") ? "zoom" : "view";
      for (const radio of group.querySelectorAll("input")) {
        radio.name = `${what}-${this.base}`;
        radio.addEventListener("change", () => (what === "zoom" ? this.zoom(+radio.value, photo) : this.show(radio.value)));
      }
    }
  }

  show(view) {
    const difference = view === "difference";
    const picture = this.find(".difference");
    if (difference && !picture.src) picture.src = this.pictures.difference;
    picture.hidden = !difference;
    this.find(".stage input").hidden = difference;
    this.find(".ends").hidden = difference;
  }

  zoom(factor, photo) {
    const frame = this.find(".window");
    const stage = this.find(".stage");
    const middle = [(frame.scrollLeft + frame.clientWidth / 2 - stage.offsetLeft) / stage.clientWidth,
      (frame.scrollTop + frame.clientHeight / 2) / stage.clientHeight];
    frame.classList.toggle("zoomed", factor > 0);
    // one pixel of the photo is `factor` pixels of the screen, however dense that is
    stage.style.width = factor ? `${(photo.width * factor) / devicePixelRatio}px` : "";
    frame.scrollLeft = middle[0] * stage.clientWidth + stage.offsetLeft - frame.clientWidth / 2;
    frame.scrollTop = middle[1] * stage.clientHeight - frame.clientHeight / 2;
  }

  // returns whether there is a new file to save
  update(photo, busy) {
    this.find(".remove").disabled = busy;
    const seen = `${photo.version} ${photo.status}`;
    if (seen === this.seen) return false;
    this.seen = seen;
    const pill = this.find(".pill");
    pill.textContent = WORDS[photo.status];
    pill.className = `pill ${photo.status}`;
    const done = isWritten(photo);
    this.find(".reason").textContent = done ? summary(photo) : sentence(photo.reason);
    this.find(".result").hidden = !done;
    if (done) this.fill(photo);
    const notes = this.find(".notes");
    notes.replaceChildren(...photo.notes.map((note) => make("li", {}, sentence(note))));
    notes.hidden = !photo.notes.length;
    return done;
  }

  fill(photo) {
    const at = (view) => `${this.base}/${view}.${this.kind}?${photo.version}`;
    this.pictures = { difference: at("difference") };
    for (const [view, told] of [["before", "Original photo of"], ["after", "Protected photo of"]]) {
      const picture = this.find(`.${view}`);
      [picture.width, picture.height] = [photo.width, photo.height];
      picture.alt = `${told} ${photo.name}`;
      picture.src = at(view);
    }
    const difference = this.find(".difference");
    difference.removeAttribute("src");
    difference.alt = `Difference, amplified, of ${photo.name}`;
    this.find(".view input").checked = true;
    this.show("compare");
    this.fillChannels(photo);
    const { linf, psnr, ssim, seconds } = photo.figures;
    const { least } = photo;
    this.find(".measures").replaceChildren(
      ...measure("Largest change", `${linf}/255`),
      ...measure("PSNR", psnr === null ? "–" : `${psnr.toFixed(1)} dB`),
      ...measure("SSIM", ssim.toFixed(4)),
      ...(seconds === null ? [] : measure("Time", `${seconds.toFixed(1)} s`)),
      ...(least ? measure(
        `Authorized model's smallest margin, of ${least.deployments} deployments`,
        `${least.margin.toFixed(2)}, ${least.meaning || least.name}`,
      ) : []),
    );
    const save = this.find(".save");
    save.href = `${this.base}/file`;
    save.setAttribute("aria-label", `Save ${photo.name}, protected`);
  }

  // a chip for each channel; the table shows what the models read through the one that is checked
  fillChannels(photo) {
    const show = (channel) => this.find(".answers tbody").replaceChildren(...channel.answers.map(row));
    this.find(".channel").replaceChildren(...photo.channels.map((channel, index) => {
      const radio = make("input", { type: "radio", name: `channel-${this.base}`, checked: index === 0 });
      radio.addEventListener("change", () => show(channel));
      return make("label", {}, radio, make("span", {}, channel.title));
    }));
    show(photo.channels[0]);
  }
}

function summary(photo) {
  const share = (role, name) => {
    const readers = photo.channels[0].answers.filter((reading) => reading.role === role && reading.good !== null);
    return readers.length ? [`${readers.filter((reading) => reading.good).length} of ${readers.length} ${name}`] : [];
  };
  const others = [...share("surrogate", "stand-ins"), ...share("held-out", "judges")].join(" and ");
  const kept = `The authorized model still reads ${photo.label}.`;
  if (photo.status === "already-misread")
    return `${kept} No stand-in reads the original, so nothing shows that the change misleads a model: choose stand-ins that read this photo.`;
  return kept + (others && ` Misled: ${others}.`);
}

function row(reading) {
  const tone = reading.good === null ? "quiet" : reading.good ? "right" : "wrong";
  const mark = reading.good === null ? "" : reading.good ? "✓ " : "✗ ";
  return make("tr", {},
    make("th", { scope: "row" }, make("span", { className: "uri" }, reading.model), make("small", {}, ROLES[reading.role])),
    make("td", {}, make("bdi", {}, reading.before)),
    make("td", {}, make("bdi", {}, reading.after), make("small", { className: tone }, mark + reading.verdict)),
  );
}

function measure(name, value) {
  return [make("div", {}, make("dt", {}, name), make("dd", {}, value))];
}

export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function sentence(text) {
  return text && text[0].toUpperCase() + text.slice(1);
}

export function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
