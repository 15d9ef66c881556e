// Drives Firefox over WebDriver BiDi for test_firefox.py: `node firefox.mjs MODULES FIREFOX FOLDER`. Reads a command on
// each line, [name, ...arguments], and answers each by a line, { result } or { error }. FOLDER takes the profile and
// the downloads. Firefox is in the process group of this program, which its caller kills at the end.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [modules, firefox, folder] = process.argv.slice(2);
const SLOW = 30_000; // milliseconds
const require = createRequire(join(modules, "of.js"));
const puppeteer = require("puppeteer-core").default;
const { Browser, createProfile } = require("@puppeteer/browsers");

const [profile, downloads] = ["profile", "downloads"].map((name) => join(folder, name));
const preferences = { "browser.download.dir": downloads, "browser.download.folderList": 2 };

/** Starts Firefox; resolves to the address at which it listens, on a port of its own choice. */
async function started() {
  await createProfile(Browser.FIREFOX, { path: profile, preferences });
  const flags = ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"];
  const browser = spawn(firefox, [...flags, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  return new Promise((resolve, reject) => {
    browser.stderr.on("data", (data) => {
      said += data;
      const address = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
      if (address) resolve(`${address[1]}/session`);
    });
    browser.on("error", reject);
    browser.on("exit", () => reject(new Error(`Firefox ended: ${said}`)));
  });
}

const browser = await puppeteer.connect({ browserWSEndpoint: await started(), protocol: "webDriverBiDi" });
const page = await browser.newPage();
page.setDefaultTimeout(SLOW);
let said = []; // in the console, since the page was opened
page.on("console", (message) => said.push(message.text()));
page.on("pageerror", (error) => said.push(String(error)));

const COMMANDS = {
  open: async (address) => {
    await page.goto("about:blank");
    said = [];
    await page.goto(address);
  },
  evaluate: (expression) => page.evaluate(expression),
  wait: (expression) => page.waitForFunction(expression).then(() => null),
  choose: async (selector, ...paths) => (await page.$(selector)).uploadFile(...paths),
  click: (selector) => page.$eval(selector, (element) => element.click()),
  said: async () => said,
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  const answer = await COMMANDS[name](...args).then(
    (result) => ({ result: result ?? null }),
    (error) => ({ error: String(error) }),
  );
  console.log(JSON.stringify(answer));
}
process.exit();
