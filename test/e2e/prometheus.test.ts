import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stopVerdictNames } from '@vmpulse/wire';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { parsePlainYaml } from '../support/plain-yaml.ts';
import { eventually, RealService, patienceMs } from '../support/real-service.ts';

const folder = fileURLToPath(new URL('../../examples/prometheus/', import.meta.url));

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}
interface Expectation {
  readonly alertname: string;
  readonly exp_alerts?: readonly object[];
}
interface Route {
  readonly receiver: string;
  readonly matchers?: readonly string[];
  readonly routes?: readonly Route[];
}

const read = (name: string): unknown => parsePlainYaml(readFileSync(join(folder, name), 'utf8'));
const { groups } = read('vmpulse.rules.yml') as { groups: { rules: Alert[] }[] };
const alerts = groups.flatMap(({ rules }) => rules);

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
interface Selector {
  readonly name: string;
  readonly matchers: readonly { readonly label: string; readonly values: readonly string[] }[];
}

/** What an expression asks for: names with their matchers, of which only `=` and `=~` with plain words are known. */
function selectors(expr: string): Selector[] {
  return Array.from(expr.matchAll(/\b(up|vmpulse_\w+)(?:\{([^}]*)\})?/gu), ([, name = '', inside = '']) => ({
    name,
    matchers: inside.split(/,\s*/u).flatMap((matcher) => {
      if (matcher === '') return [];
      const [, label, operator, text] = /^(\w+)(=~?)"([\w|]+)"$/u.exec(matcher) ?? [];
      if (label === undefined || text === undefined) throw new Error(`not understood: ${matcher} in ${expr}`);
      return [{ label, values: operator === '=~' ? text.split('|') : [text] }];
    }),
  }));
}

const chosen = (samples: readonly Sample[], { name, matchers }: Selector): Sample[] =>
  samples.filter(
    (sample) =>
      sample.name === name &&
      matchers.every(({ label, values }) => values.includes(sample.labels[label] ?? '')),
  );

describe('what the alerts ask for', () => {
  let service: RealService;
  beforeAll(async () => {
    service = await RealService.start();
    await service.server.subscriptions.put('pager');
    await service.server.webhooks.create({ name: 'chat', url: 'http://127.0.0.1:9/' });
  });
  afterAll(() => service.dispose());

  /** As prometheus.yml has it scraped. */
  async function scrape(): Promise<Sample[]> {
    type Job = { job_name: string; authorization: { type: string; credentials_file: string } };
    const [job] = (read('prometheus.yml') as { scrape_configs: Job[] }).scrape_configs;
    expect(job?.job_name).toBe('vmpulse');
    expect(job?.authorization.credentials_file).toMatch(/\.token$/u);
    const port = /"port":(\d+)/u.exec(service.output)?.[1];
    const token = (await readFile(join(service.directory, 'token'), 'utf8')).trim();
    const headers = { authorization: `${job?.authorization.type} ${token}` };
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`, { headers });
    expect(answer.status).toBe(200);
    return (await answer.text()).split('\n').flatMap((line) => {
      const [, name, inside = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/u.exec(line) ?? [];
      if (name === undefined) return [];
      const labels = Object.fromEntries(
        Array.from(inside.matchAll(/(\w+)="([^"]*)"/gu), ([, key, text]) => [key, text]),
      ) as Record<string, string>;
      return [{ name, labels, value: Number(value) }];
    });
  }

  it.each(alerts)('$alert: the service tells it, with these labels', async ({ expr, annotations }) => {
    const samples = await scrape();
    const known = new Set(['instance', 'job']);
    const asked = selectors(expr);
    expect(asked).not.toEqual([]);
    for (const selector of asked.filter(({ name }) => name !== 'up')) {
      for (const { label, values } of selector.matchers)
        for (const value of values) {
          const one = { name: selector.name, matchers: [{ label, values: [value] }] };
          expect(chosen(samples, one), `${selector.name}{${label}="${value}"}`).not.toEqual([]);
        }
      const found = chosen(samples, selector);
      expect(found, selector.name).not.toEqual([]);
      for (const label of Object.keys(found[0]?.labels ?? {})) known.add(label);
    }
    const used = `${/by \(([^)]*)\)/u.exec(expr)?.[1] ?? ''} ${JSON.stringify(annotations)}`;
    const labels = Array.from(used.matchAll(/\$labels\.(\w+)/gu), ([, label]) => label);
    const grouped = used.slice(0, used.indexOf('{')).match(/\w+/gu) ?? [];
    for (const label of [...labels, ...grouped]) expect([...known]).toContain(label);
    // What is summed away cannot be shown.
    if (expr.includes('sum by')) for (const label of labels) expect(grouped).toContain(label);
  });

  test('a guest that stopped is seen by the alert on stopped guests, and was not before', async () => {
    const [selector] = selectors(alerts.find(({ alert }) => alert === 'VmpulseGuestStopped')?.expr ?? '');
    if (selector === undefined) throw new Error('there is no such alert');
    expect(selector.matchers).toEqual([{ label: 'verdict', values: stopVerdictNames }]);
    const stopped = async (): Promise<number> =>
      chosen(await scrape(), selector).reduce((sum, { value }) => sum + value, 0);
    const vm = await service.server.createVirtualMachine({ name: 'web-1', memoryMiB: 64 });
    await (await vm.startup()).waitForCompletion(patienceMs);
    expect(await stopped()).toBe(0);
    process.kill(await service.pidOf(vm), 'SIGKILL');
    await service.heard.wait('web-1', 'heartbeatStopped');
    await eventually(
      async () => (await stopped()) === 1,
      () => 'one guest to be counted',
    );
  });
});

describe('the files', () => {
  it('say for each alert how urgent it is, what is wrong and what to do', () => {
    for (const { alert, labels, annotations } of alerts) {
      expect(alert).toMatch(/^Vmpulse[A-Z]\w+$/u);
      expect(['page', 'ticket'], alert).toContain(labels.severity);
      expect(annotations.summary.length, alert).toBeGreaterThan(10);
      expect(annotations.description.length, alert).toBeGreaterThan(10);
    }
    expect(new Set(alerts.map(({ alert }) => alert)).size).toBe(alerts.length);
  });

  it('test each alert: that it is raised, and that it is not', () => {
    const { tests, rule_files } = read('vmpulse.test.yml') as {
      tests: { alert_rule_test: Expectation[] }[];
      rule_files: string[];
    };
    expect(rule_files).toEqual(['vmpulse.rules.yml']);
    expect((read('prometheus.yml') as { rule_files: string[] }).rule_files).toEqual(rule_files);
    const all = tests.flatMap(({ alert_rule_test }) => alert_rule_test);
    const raised = all.filter(({ exp_alerts }) => exp_alerts !== undefined);
    const names = new Set(alerts.map(({ alert }) => alert));
    expect(new Set(raised.map(({ alertname }) => alertname))).toEqual(names);
    for (const { alertname } of all) expect(names).toContain(alertname);
  });

  it('route pages and tickets to receivers that are there', () => {
    const { route, receivers } = read('alertmanager.yml') as {
      route: Route;
      receivers: { name: string }[];
    };
    const routes = [route, ...(route.routes ?? [])];
    expect(new Set(routes.map(({ receiver }) => receiver))).toEqual(
      new Set(receivers.map(({ name }) => name)),
    );
    expect(routes.flatMap(({ matchers = [] }) => matchers)).toEqual(['severity = "page"']);
  });
});

/** Part of Debian's prometheus and prometheus-alertmanager, which nobody needs to have for these tests. */
const has = (tool: string): boolean => {
  try {
    execFileSync(tool, ['--version'], { stdio: 'ignore', timeout: 240_000 });
    return true;
  } catch {
    return false;
  }
};
const check = (tool: string, ...args: string[]): string =>
  execFileSync(tool, args, { cwd: folder, encoding: 'utf8', timeout: 240_000, stdio: 'pipe' });

describe.skipIf(!has('promtool'))('promtool', () => {
  it('takes the rules and the configuration', () => {
    expect(check('promtool', 'check', 'rules', 'vmpulse.rules.yml')).toContain(
      `${alerts.length} rules found`,
    );
    expect(check('promtool', 'check', 'config', '--syntax-only', 'prometheus.yml')).toContain('SUCCESS');
  });

  it('finds the alerts raised as vmpulse.test.yml says', () => {
    expect(check('promtool', 'test', 'rules', 'vmpulse.test.yml')).toContain('SUCCESS');
  });
});

describe.skipIf(!has('amtool'))('amtool', () => {
  it('takes the routes, and sends pages to the pager', () => {
    expect(check('amtool', 'check-config', 'alertmanager.yml')).toContain('2 receivers');
    const routed = (severity: string): string => {
      const args = ['--config.file=alertmanager.yml', `severity=${severity}`];
      return check('amtool', 'config', 'routes', 'test', ...args).trim();
    };
    expect([routed('page'), routed('ticket')]).toEqual(['pager', 'chat']);
  });
});
