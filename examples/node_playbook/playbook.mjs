// A playbook in JavaScript: it runs triage.ps1 on a machine, once, and says what it found.

import { setTimeout as sleep } from "node:timers/promises";

const OPEN = ["Pending", "InProgress"];
const SCOPE = "https://api.securitycenter.microsoft.com/.default";

export class Playbook {
  constructor({ url, loginUrl, tenantId, clientId, clientSecret, pause = 100 }) {
    Object.assign(this, { url, loginUrl, tenantId, clientId, clientSecret, pause });
  }

  async token() {
    const form = { client_id: this.clientId, client_secret: this.clientSecret, scope: SCOPE };
    const body = new URLSearchParams({ ...form, grant_type: "client_credentials" });
    const url = `${this.loginUrl}/${this.tenantId}/oauth2/v2.0/token`;
    const response = await fetch(url, { method: "POST", body });
    if (!response.ok) throw new Error(`no token: ${response.status}`);
    return (await response.json()).access_token;
  }

  /** Makes a call. It waits for a full window, and renews its token; other errors are thrown. */
  async call(method, path, body) {
    for (let renewed = false; ; ) {
      this.bearer ??= await this.token();
      const headers = { Authorization: `Bearer ${this.bearer}`, "Content-Type": "application/json" };
      const request = { method, headers, body: body && JSON.stringify(body) };
      const response = await fetch(`${this.url}/api/${path}`, request);
      if (response.status === 401 && !renewed) {
        this.bearer = undefined;
        renewed = true;
        continue;
      }
      if (response.status === 429) {
        await sleep(1000 * Number(response.headers.get("Retry-After") ?? 5));
        continue;
      }
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.error.code);
      return answer;
    }
  }

  /** Submits. If the answer is lost, it looks for its action before it would submit again. */
  async submit(machine, comment) {
    const script = { type: "RunScript", params: [{ key: "ScriptName", value: "triage.ps1" }] };
    const path = `machines/${machine}/runliveresponse`;
    try {
      return await this.call("POST", path, { Commands: [script], Comment: comment });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // The service answered.
      const filter = encodeURIComponent(`machineId eq '${machine}'`);
      const { value } = await this.call("GET", `machineactions?$filter=${filter}`);
      const own = value.find((action) => action.requestorComment === comment);
      if (!own) throw error;
      return own;
    }
  }

  async triage(machineName, comment) {
    const machine = await this.call("GET", `machines/${machineName}`);
    let action = await this.submit(machine.id, comment);
    while (OPEN.includes(action.status)) {
      await sleep(this.pause);
      action = await this.call("GET", `machineactions/${action.id}`);
    }
    if (action.status !== "Succeeded") return { status: action.status, found: [] };
    const link = `machineactions/${action.id}/GetLiveResponseResultDownloadLink(index=0)`;
    const response = await fetch((await this.call("GET", link)).value);
    const transcript = await response.json();
    const found = [...transcript.script_output.matchAll(/suspicious: (\S+)/g)];
    return { status: action.status, found: found.map((match) => match[1]) };
  }
}
