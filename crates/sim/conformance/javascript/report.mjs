// Runs the capabilities of one client and prints one JSON line for each.
//
// A capability is a function that throws when the client did not get what it expects.
// The harness reads the lines; a script that breaks before its last line has failed.

import { createRequire } from 'node:module';

const LIMIT_MS = 60_000;

/** The installed version of a package. */
export function version(name) {
  return createRequire(import.meta.url)(`${process.cwd()}/node_modules/${name}/package.json`).version;
}

/** One client, by name and version as people know them. */
export class Report {
  constructor(client) {
    this.client = client;
    this.capabilities = [];
  }

  capability(name, run) {
    this.capabilities.push([name, run]);
  }

  /** Runs all, each on its own: one failure does not hide the next. */
  async run() {
    for (const [name, run] of this.capabilities) {
      const line = { client: this.client, capability: name, passed: true };
      let timer;
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('it took too long')), LIMIT_MS);
      });
      try {
        await Promise.race([run(), late]);
      } catch (error) {
        line.passed = false;
        line.why = `${error.name}: ${error.message}`.slice(0, 600);
        console.error(error);
      }
      clearTimeout(timer);
      console.log(JSON.stringify(line));
    }
    process.exit(0);
  }
}
