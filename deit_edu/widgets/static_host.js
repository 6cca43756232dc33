// Gives the interactive figures of a built page the state that it was built with: no kernel, no
// network, no RequireJS.
// A classic script, and data come by <script>: modules and fetch() do not work on file:// pages.
(() => {
  "use strict";
  // No address where a page holds this script itself.
  const { src } = /** @type {HTMLScriptElement} */ (document.currentScript);
  const base = src && new URL("widgets/", src).href;
  const MIME = "application/vnd.jupyter.widget-";

  // ---- what was moved out of the figures' state: parts of the page, or files beside it, which
  // call deitEduFile(name, base64 or text) ----

  const waiting = new Map();
  const files = new Map();
  window.deitEduFile = (name, content) => waiting.get(name)(content);

  function file(name) {
    if (!files.has(name)) {
      files.set(
        name,
        new Promise((resolve, reject) => {
          const part = document.getElementById(`deit-edu-${name}`);
          if (part) return resolve(JSON.parse(part.textContent));
          waiting.set(name, resolve);
          const script = document.createElement("script");
          script.src = `${base}${name}.js`;
          script.onerror = () => {
            files.delete(name); // asked again, it is tried again
            reject(
              new Error(
                "a data file of this page could not be loaded: reload it, or build the book again",
              ),
            );
          };
          document.head.append(script);
        }),
      );
    }
    return files.get(name);
  }

  function decode(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return new DataView(bytes.buffer);
  }

  // ---- what a figure's JavaScript knows of its model ----

  class Model {
    constructor(state, late) {
      this.state = state;
      this.late = late; // {trait: name of its file}
      this.listeners = new Map();
    }
    get(name) {
      return this.state[name];
    }
    set(name, value) {
      if (this.state[name] === value) return;
      this.state[name] = value;
      for (const listener of this.listeners.get(`change:${name}`) ?? []) listener();
    }
    on(event, listener) {
      this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
    }
    save_changes() {} // no kernel to save to
    async load(name) {
      if (name in this.late) this.state[name] = decode(await file(this.late[name]));
      return this.state[name];
    }
  }

  const modules = new Map();
  async function moduleOf(name) {
    if (!modules.has(name)) {
      modules.set(
        name,
        file(name).then((text) => {
          const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
          return import(url).finally(() => URL.revokeObjectURL(url));
        }),
      );
    }
    return modules.get(name);
  }

  const styled = new Set();
  async function addStyle(name) {
    if (styled.has(name)) return;
    styled.add(name);
    document.head.append(
      Object.assign(document.createElement("style"), { textContent: await file(name) }),
    );
  }

  const models = new Map(); // a figure shown twice on a page has one model
  function modelOf(id, record) {
    if (!models.has(id)) {
      models.set(
        id,
        (async () => {
          const state = { ...record.state },
            late = {};
          for (const { trait, name } of record.files) {
            if (state._on_use.includes(trait)) late[trait] = name;
            else state[trait] = decode(await file(name));
          }
          return new Model(state, late);
        })(),
      );
    }
    return models.get(id);
  }

  function mount(script, records) {
    const record = records[JSON.parse(script.textContent).model_id];
    const el = document.createElement("div");
    el.className = "deit-edu-host";
    el.style.minHeight = "20rem"; // so that what follows does not jump
    script.after(el);
    const start = async () => {
      try {
        const [model, module] = await Promise.all([
          modelOf(JSON.parse(script.textContent).model_id, record),
          moduleOf(record.esm),
          addStyle(record.css),
        ]);
        Object.assign(el, { model }); // for who looks into it from outside
        await module.default.render({ model, el });
        el.dataset.ready = "true";
      } catch (error) {
        el.textContent = `This figure could not start: ${error.message}`;
      }
      el.style.minHeight = "";
    };
    const near = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        near.disconnect();
        start();
      },
      { rootMargin: "600px" },
    );
    near.observe(el);
  }

  function run() {
    const records = {};
    for (const script of document.querySelectorAll(`script[type="${MIME}state+json"]`)) {
      Object.assign(records, JSON.parse(script.textContent).state);
    }
    for (const script of document.querySelectorAll(`script[type="${MIME}view+json"]`))
      mount(script, records);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", run);
  else run();
})();
