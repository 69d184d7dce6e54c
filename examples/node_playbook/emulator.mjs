// Starts the emulator of mde-live-response with box.yaml, and controls it over HTTP.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export class Emulator {
  static async start() {
    const config = fileURLToPath(new URL("box.yaml", import.meta.url));
    const process = spawn("mde-live-response", ["emulator", "--config", config], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const failed = once(process, "exit").then(([code]) => {
      throw new Error(`the emulator ended with ${code}`);
    });
    failed.catch(() => {}); // At the end, it is stopped.
    const lines = createInterface({ input: process.stdout });
    const [line] = await Promise.race([once(lines, "line"), failed]);
    return new Emulator(process, JSON.parse(line));
  }

  constructor(process, shown) {
    this.process = process;
    this.url = shown.url;
    this.loginUrl = shown.login_url;
    this.tenantId = shown.tenant_id;
    this.clientId = shown.client_id;
    this.clientSecret = shown.client_secret;
  }

  async get(name) {
    return this.send(name, { method: "GET" });
  }

  async post(name, body = {}) {
    return this.send(name, { method: "POST", body: JSON.stringify(body) });
  }

  async send(name, request) {
    const response = await fetch(`${this.url}/__box/${name}`, request);
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    return answer;
  }

  async stop() {
    this.process.kill();
    await once(this.process, "exit");
  }
}
