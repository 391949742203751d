// the tab's own session: its photos, and the run
import { Card, isWritten, make, sentence } from "./card.js";
import { choice, choose, missing, region, watchForm } from "./form.js";
import { Preview } from "./preview.js";
import { sayProgress } from "./progress.js";

const by = (id) => document.getElementById(id);
const limits = { photos: +document.body.dataset.maxPhotos, bytes: +document.body.dataset.maxBytes };
const cards = new Map();
const preview = new Preview();
const EVERY = 300; // ms between two requests for the progress
// the secret is kept only in this variable, so that another tab, or a copy of this one, starts its own session
let session;
let busy = false;
let pending = 0;
let picked; // number of the photo that the preview shows
let uploaded = []; // the photos as they were last told
const unsaved = new Set();

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", ...options });
  } catch {
    throw new Error("omm app does not answer: is it still running in the terminal?");
  }
  const content = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) throw new Error(content.error ?? "something went wrong here; the terminal shows what");
  return content;
}

// ---- errors

function complain(error, told = sentence(error.message)) {
  const close = make("button", { type: "button", title: "Dismiss" }, "×");
  close.setAttribute("aria-label", "Dismiss");
  const box = make("div", { className: "alert" }, make("p", {}, told), close);
  close.addEventListener("click", () => box.remove());
  by("errors").append(box);
}

const calm = () => by("errors").replaceChildren();

async function guarded(work, tell = (error) => complain(error)) {
  try {
    await work();
  } catch (error) {
    tell(error);
  }
}

// ---- photos in

async function add(files) {
  calm();
  pending += 1;
  sayWhy();
  for (const file of files) {
    await guarded(async () => {
      // the server refuses them too; here it costs no upload
      if (file.size > limits.bytes) throw new Error(`${file.name}: too large; the page takes files up to ${limits.bytes / 1e6} MB`);
      if (cards.size >= limits.photos) throw new Error(`${file.name}: there are ${limits.photos} photos already, and no more fit`);
      // a folder, or a file that is gone: its upload fails as if there were no server
      await file.slice(0, 1).arrayBuffer().catch(() => {
        throw new Error(`${file.name}: it cannot be read; of a folder, drop the photos in it`);
      });
      await ask(`${session}/photos?name=${encodeURIComponent(file.name)}`, { body: file });
      await refresh();
    }, (error) => complain(error, error.message)); // it begins with a file's name, as it is written
  }
  pending -= 1;
  await guarded(refresh);
}

by("files").addEventListener("change", async (event) => {
  const files = [...event.target.files];
  event.target.value = ""; // so that the same file can be chosen again
  await add(files);
});
const drop = by("drop");
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  // anywhere on the page: a photo that misses the zone must not replace the page
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop" && !busy) add(event.dataTransfer.files);
  });
}
by("samples").addEventListener("click", () => guarded(async () => {
  calm();
  await ask(`${session}/samples`);
  choose("portraits"); // the models that know them
  await refresh();
}));

// ---- the run

function sayWhy() {
  const reason = pending ? "Photos are being added." : cards.size ? missing() : "Add a photo first.";
  by("run").disabled = busy || reason !== "";
  by("why").textContent = busy ? "" : reason;
}

function sayForm() {
  sayWhy();
  sayPreview();
}

by("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  if (busy) return;
  guarded(async () => {
    calm();
    await ask(`${session}/run`, { body: JSON.stringify(choice()) });
    await watch();
  });
});
by("stop").addEventListener("click", () => guarded(async () => {
  by("stop").disabled = true;
  await ask(`${session}/stop`);
}));

async function refresh() {
  const { run, photos } = await ask(`${session}/`, { method: "GET" });
  busy = run.busy;
  for (const [number, card] of cards) {
    if (!photos.some((photo) => photo.number === number)) {
      card.element.remove();
      unsaved.delete(number);
      cards.delete(number);
    }
  }
  for (const photo of photos) {
    if (!cards.has(photo.number)) addCard(photo);
    if (cards.get(photo.number).update(photo, busy)) unsaved.add(photo.number);
  }
  document.body.classList.toggle("filled", photos.length > 0);
  by("run").hidden = busy;
  by("stop").hidden = !busy;
  by("stop").disabled = run.stopping;
  by("files").disabled = by("samples").disabled = busy;
  sayWhy();
  sayProgress(run, photos);
  sayPreview(photos);
  return run;
}

function addCard(photo) {
  const base = `${session}/photos/${photo.number}`;
  const card = new Card(base, photo, {
    remove: () => guarded(async () => {
      await ask(base, { method: "DELETE" });
      await refresh();
    }),
    pick: () => {
      picked = photo.number;
      guarded(refresh);
    },
  });
  card.find(".save").addEventListener("click", () => unsaved.delete(photo.number));
  cards.set(photo.number, card);
  by("photos").append(card.element);
}

// the photo that is at work, or was picked, or the first without a result
function sayPreview(photos = uploaded) {
  uploaded = photos;
  const open = photos.filter((photo) => !isWritten(photo));
  const shown = open.find((photo) => photo.status === "working")
    ?? open.find((photo) => photo.number === picked) ?? open[0];
  for (const [number, card] of cards) card.mark(number === shown?.number, open.some((photo) => photo.number === number));
  guarded(() => preview.show(shown ? `${session}/photos/${shown.number}` : "", shown?.name, region()));
}

async function watch() {
  let run = await refresh();
  while (run.busy) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    run = await refresh();
  }
  if (run.sentence) complain(new Error(run.sentence));
}

// ---- the example

async function showExample() {
  const place = by("example");
  if (!place) return;
  const photo = await ask("example/", { method: "GET" });
  const card = new Card("example", photo, { kind: "webp" });
  card.update(photo, false);
  card.element.classList.add("example");
  place.append(card.element);
}

by("zip").addEventListener("click", () => unsaved.clear());
addEventListener("beforeunload", (event) => {
  if (busy || unsaved.size) event.preventDefault();
});
addEventListener("pagehide", () => session && navigator.sendBeacon(`${session}/close`));
addEventListener("pageshow", (event) => event.persisted && location.reload());

watchForm(sayForm, (stop, evenly) => preview.set(stop, evenly));
guarded(async () => {
  session = `sessions/${(await ask("sessions")).session}`;
  by("zip").href = `${session}/all.zip`;
  by("toml").href = `${session}/run.toml`;
  await Promise.all([refresh(), showExample()]);
  document.body.classList.add("ready");
});
