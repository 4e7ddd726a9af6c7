// Makes the search work when the pages are read from the disk.
//
// Browsers start no Worker from a file. Under "file:" a hidden frame runs the script of the search
// in its place. The theme looks for the name IFrameWorker, to find its own files from within.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><body>";
      const loaded = (target) =>
        new Promise((resolve) => target.addEventListener("load", resolve, { once: true }));
      this.inner = loaded(this.frame).then(() => {
        const inner = this.frame.contentWindow;
        // The script posts its answers to the frame's own window, as it would in a worker.
        inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        const script = inner.document.createElement("script");
        script.src = url;
        inner.document.body.append(script);
        return loaded(script).then(() => inner);
      });
      document.body.append(this.frame);
    }
    postMessage(data) {
      this.inner.then((inner) => inner.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
