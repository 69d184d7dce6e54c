// Tests the playbook against the emulator: `node --test`. Only HTTP is used.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Emulator } from "./emulator.mjs";
import { Playbook } from "./playbook.mjs";

let emulator;
let playbook;

before(async () => {
  emulator = await Emulator.start();
});
after(() => emulator.stop());

beforeEach(async () => {
  await emulator.post("reset");
  await emulator.post("machines/ws-0002", { online: false });
  playbook = new Playbook(emulator);
});

// Whatever a test does, the playbook must keep the service's rules.
afterEach(async () => {
  const violations = await emulator.get("violations");
  assert.deepEqual(Object.entries(violations).filter(([, count]) => count > 0), []);
});

/** Waits until the emulator has a session with this status. */
async function session(status) {
  for (;;) {
    const found = (await emulator.get("sessions")).find((one) => one.status === status);
    if (found) return found;
    await new Promise((done) => setTimeout(done, 20));
  }
}

test("it reports what the script found", async () => {
  const result = await playbook.triage("ws-0001", "case 42");
  assert.deepEqual(result, { status: "Succeeded", found: ["C:\\Temp\\dropper.exe"] });
  const submits = (await emulator.get("requests")).filter((r) => r.route === "runliveresponse");
  assert.equal(JSON.parse(submits[0].body).Comment, "case 42");
});

test("a script that fails is reported", async () => {
  const { scripts } = await emulator.get("config");
  await emulator.post("scripts", { name: "triage.ps1", fails: "The script could not start." });
  const result = await playbook.triage("ws-0001", "case 43");
  assert.deepEqual(result, { status: "Failed", found: [] });
  await emulator.post("scripts", scripts[0]);
});

test("a lost answer does not run the script twice", async () => {
  await emulator.post("faults", { method: "POST", path: "runliveresponse", kind: "drop_after" });
  const result = await playbook.triage("ws-0001", "case 44");
  assert.equal(result.status, "Succeeded");
  assert.equal((await emulator.get("sessions")).length, 1);
});

test("it waits for a machine that comes online", async () => {
  const running = playbook.triage("ws-0002", "case 45");
  await session("Pending");
  await emulator.post("machines/ws-0002", { online: true });
  assert.equal((await running).status, "Succeeded");
});

test("a machine that stays offline ends as TimeOut", async () => {
  const running = playbook.triage("ws-0002", "case 46");
  await session("Pending");
  await emulator.post("advance", { seconds: 7201 });
  assert.deepEqual(await running, { status: "TimeOut", found: [] });
});

test("another caller's session is not taken for its own", async () => {
  await emulator.post("foreign_sessions", { machine: "ws-0001", seconds: 600 });
  await assert.rejects(playbook.triage("ws-0001", "case 47"), /ActiveRequestAlreadyExists/);
});

test("it waits when the service says so", async () => {
  const headers = { "Retry-After": "1" };
  await emulator.post("faults", { path: "machine", kind: "status", status: 429, headers });
  assert.equal((await playbook.triage("ws-0001", "case 48")).status, "Succeeded");
  assert.equal((await emulator.get("counters")).machine, 2);
});
