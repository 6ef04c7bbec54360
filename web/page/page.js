"use strict";
// Sends the camera's pictures and the keys to the server, and shows what it answers.

const LONGER_SIDE = 640; // pixels of the pictures that are sent
const LIVE_SIDE = 480; // pixels of the camera's picture that is shown
const QUALITY = 0.85;
const PICTURE_MS = 50; // between two pictures that are sent: encoding more takes the networks' time
const MOST_WAITING = 400000; // bytes that the connection may hold back before pictures are dropped
const KEYS = { Space: " ", Esc: "\x1b", Enter: "\r" };
const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it beside the address, then reload this page.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "Another program uses the camera. Quit it, then reload this page.",
};

const part = (id) => document.getElementById(id);
const video = part("video");
let socket = null;
let isOver = false;
let isOpening = false;
let encoding = 0;
let due = 0; // when the next picture is sent, in ms
let livePart = null; // of the camera: [top, left, height, width] in shares; null: shows what is sent
let told = "";
const sent = document.createElement("canvas"); // the picture that is sent next
let keyText = "";

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const opened = new WebSocket(`${scheme}://${location.host}/socket${location.search}`);
  opened.binaryType = "arraybuffer";
  let isRefused = false;
  opened.onmessage = (event) => {
    isRefused = typeof event.data === "string"; // another page uses the address
    if (isRefused) say("IN USE", event.data);
    else take(event.data);
  };
  opened.onclose = () => {
    if (isOver) return;
    if (!isRefused) {
      say("NO CONNECTION", "The program does not answer. Is it still running? Trying again ...");
    }
    setTimeout(connect, 1500);
  };
  socket = opened;
}

function send(content) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(content));
}

function say(heading, message) {
  part("heading").textContent = heading;
  part("message").textContent = message;
  part("told").textContent = `${heading}. ${message}`;
  told = "";
}

async function openCamera() {
  if (isOpening || isOver || (video.srcObject && video.srcObject.active)) return;
  isOpening = true;
  const isForbidden = await tryCamera();
  isOpening = isForbidden; // who said no is not asked again before the page is reloaded
  if (!isForbidden && !video.srcObject) setTimeout(openCamera, 3000);
}

// Opens the camera, or tells why not; returns whether it was forbidden.
async function tryCamera() {
  if (!navigator.mediaDevices) {
    send({ problem: "Browsers give the camera only to https and to this very machine." });
    return true;
  }
  try {
    const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" };
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    video.srcObject.getVideoTracks()[0].onended = () => {
      video.srcObject = null;
      send({ problem: "The camera was taken away. Plug it in or allow it again, then reload this page." });
    };
    await video.play();
    nextPicture();
    return false;
  } catch (error) {
    stopCamera();
    send({ problem: REASONS[error.name] || `The camera does not open: ${error.message}` });
    return error.name === "NotAllowedError";
  }
}

function stopCamera() {
  if (video.srcObject) video.srcObject.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

function nextPicture() {
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback((now) => takePicture(now));
  else setTimeout(() => takePicture(performance.now()), 33);
}

function takePicture(now) {
  if (video.srcObject) nextPicture();
  showLive();
  if (now < due) return;
  due = Math.max(due, now - PICTURE_MS) + PICTURE_MS;
  sendPicture(now);
}

// Shows the camera's own picture, as in a mirror; returns whether there is one to show.
function showLive() {
  const [width, height] = [video.videoWidth, video.videoHeight];
  if (!livePart || !width) return false;
  const [top, left, tall, wide] = livePart;
  const shrink = Math.min(1, LIVE_SIDE / Math.max(wide * width, tall * height));
  const canvas = sized("camera", Math.round(shrink * wide * width), Math.round(shrink * tall * height));
  const context = canvas.getContext("2d");
  context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(video, left * width, top * height, wide * width, tall * height, 0, 0, canvas.width, canvas.height);
  return true;
}

function sendPicture(now) {
  const isFree = socket.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_WAITING;
  if (!isFree || encoding > 1 || !video.videoWidth) return;
  const shrink = Math.min(1, LONGER_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const [width, height] = [video.videoWidth, video.videoHeight].map((side) => Math.round(side * shrink));
  if (sent.width !== width || sent.height !== height) [sent.width, sent.height] = [width, height];
  sent.getContext("2d").drawImage(video, 0, 0, width, height);
  encoding += 1;
  sent.toBlob((blob) => {
    encoding -= 1;
    const stamp = new DataView(new ArrayBuffer(8));
    stamp.setFloat64(0, now / 1000, true);
    if (blob && socket.readyState === WebSocket.OPEN) socket.send(new Blob([stamp.buffer, blob]));
  }, "image/jpeg", QUALITY);
}

async function take(data) {
  const bytes = new DataView(data);
  const textEnd = 4 + bytes.getUint32(0, true);
  const firstEnd = textEnd + 4 + bytes.getUint32(textEnd, true);
  try {
    const view = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, textEnd - 4)));
    isOver = view.isOver;
    livePart = view.live;
    if (showLive()) part("camera").hidden = false;
    else await paint("camera", data.slice(textEnd + 4, firstEnd));
    await paint("beside", data.slice(firstEnd));
    show(view);
  } catch (error) {
    console.error(error);
  } finally {
    if (isOver) end();
    else send({ shown: 1 });
  }
  openCamera();
}

function end() {
  stopCamera();
  say("ENDED", "The program has ended. This page can be closed.");
  part("keys").replaceChildren();
  socket.close();
}

async function paint(id, jpeg) {
  part(id).hidden = jpeg.byteLength === 0;
  if (jpeg.byteLength === 0) return;
  const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  const context = sized(id, picture.width, picture.height).getContext("2d");
  context.resetTransform();
  context.drawImage(picture, 0, 0);
  picture.close();
}

// A canvas, made as large as a picture.
function sized(id, width, height) {
  const canvas = part(id);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  return canvas;
}

function show(view) {
  part("heading").textContent = view.heading;
  part("header").style.background = view.color;
  part("header").style.color = contrasting(view.color);
  part("corner").textContent = view.corner;
  part("camera-figure").hidden = part("camera").hidden;
  part("beside-figure").hidden = !view.isSplit || part("camera").hidden;
  part("note").textContent = view.note;
  part("caption").textContent = view.caption;
  part("big").textContent = view.big;
  showBox(view.box);
  showLines(view.lines);
  part("bar").hidden = view.bar === null;
  part("filled").style.width = `${100 * (view.bar || 0)}%`;
  part("bar-text").textContent = view.barText;
  showRows(view.typed === null ? view.rows : []);
  showNaming(view.typed !== null);
  part("message").textContent = view.message;
  if (view.keys !== keyText) showKeys(view.keys);
  tellScreenReader(view);
}

function contrasting(color) {
  const light = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
  const linear = light.map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return luminance > 0.179 ? "#000" : "#fff"; // whichever has more contrast: at least 4.5
}

function showBox(box) {
  const frame = part("box");
  frame.style.display = box && !part("camera").hidden ? "block" : "none";
  if (!box) return;
  const { clientWidth, clientHeight, width, height } = part("camera");
  const scale = Math.min(clientWidth / width, clientHeight / height);
  frame.style.top = `${(clientHeight - scale * height) / 2 + scale * height * box[0]}px`;
  frame.style.left = `${(clientWidth - scale * width) / 2 + scale * width * box[1]}px`;
  frame.style.height = `${scale * height * box[2]}px`;
  frame.style.width = `${scale * width * box[3]}px`;
}

function showLines(lines) {
  const made = lines.flatMap(([key, text]) => [element("dt", key), element("dd", text)]);
  if (part("lines").textContent !== made.map((each) => each.textContent).join("")) {
    part("lines").replaceChildren(...made);
  }
}

function showRows(rows) {
  const made = rows.map((row) => {
    const line = element("li", "");
    line.className = row.strong ? "strong" : "";
    if (row.share !== null) {
      const share = element("div", "");
      share.className = "share";
      share.style.width = `${100 * row.share}%`;
      line.append(share, element("span", row.text), element("span", `${Math.round(100 * row.share)} %`));
    } else {
      line.append(element("span", row.text));
    }
    return line;
  });
  part("rows").replaceChildren(...made);
}

function showNaming(isAsked) {
  if (part("naming").hidden !== isAsked) return;
  part("naming").hidden = !isAsked;
  if (isAsked) {
    part("name").value = "";
    part("name").focus();
  } else {
    part("name").blur();
  }
}

function showKeys(text) {
  keyText = text;
  const buttons = text.split("   ").filter(Boolean).map((words) => {
    const [keys, what] = words.split(": ");
    const button = element("button", "");
    button.append(element("kbd", keys), document.createTextNode(what || ""));
    button.onclick = (event) => {
      if (event.detail) button.blur(); // after a tap, Space is a key of its own again
      if (keys === "Enter" && !part("naming").hidden) part("naming").requestSubmit();
      else press(KEYS[keys] || (keys === "any key" ? " " : keys));
    };
    return button;
  });
  const before = part("keys").contains(document.activeElement) && document.activeElement;
  part("keys").replaceChildren(...buttons);
  if (before) { // whoever goes by the keyboard stays on the same key
    const name = before.firstChild.textContent;
    buttons.find((button) => button.firstChild.textContent === name)?.focus();
  }
}

function tellScreenReader(view) {
  const what = view.heading.split(":")[0];
  const words = what === "ANSWER" || what === "CONTINUOUS"
    ? `${view.heading}. ${view.rows.map((row) => row.text).join(", ")}`
    : `${what === "REPLAY" ? what : view.heading}. ${view.lines.map((line) => line[1]).join(" ")} ${view.message}`;
  if (words !== told) part("told").textContent = words;
  told = words;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function press(key) {
  send({ key });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) return;
  if (event.target === part("name")) {
    if (event.key === "Escape") press("\x1b");
    return;
  }
  const isOnButton = event.target instanceof HTMLButtonElement;
  if (!part("naming").hidden && !isOnButton && event.key !== "Escape") {
    part("name").focus(); // what is typed belongs there
    return;
  }
  if (isOnButton && (event.key === " " || event.key === "Enter")) return;
  const key = { Escape: "\x1b", Enter: "\r" }[event.key] || event.key;
  if (key.length === 1) {
    event.preventDefault();
    press(key.toLowerCase());
  }
});

part("naming").addEventListener("submit", (event) => {
  event.preventDefault();
  send({ name: part("name").value });
});

window.addEventListener("pagehide", () => socket && socket.close());
connect();
