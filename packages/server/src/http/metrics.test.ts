import { stopVerdictNames, verdictNames, vmStates } from '@vmpulse/wire';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type HttpFixture,
  ask,
  draft,
  openStreamReader,
  startHttp,
} from '../../../../test/support/http-fixture.ts';
import { Endpoint, answering } from '../../../../test/support/endpoint.ts';
import { Metrics } from './metrics.ts';

const lines = async (metrics: Metrics): Promise<string[]> => (await metrics.text()).split('\n');

describe('metrics', () => {
  it('count what is recorded', async () => {
    const metrics = new Metrics({ processMetrics: false });
    metrics.observe({ ticks: () => 5 });
    metrics.tickBytesRejected(512);
    metrics.suspected();
    metrics.stopped('hung', 'silence', 1_550);
    metrics.resumed();
    metrics.appended(2);
    const text = await lines(metrics);
    for (const line of [
      'vmpulse_ticks_total 5',
      'vmpulse_tick_bytes_rejected_total 512',
      'vmpulse_suspicions_total 1',
      'vmpulse_heartbeats_stopped_total{verdict="hung",cause="silence"} 1',
      'vmpulse_heartbeats_resumed_total 1',
      'vmpulse_detection_latency_seconds_bucket{le="1",verdict="hung"} 0',
      'vmpulse_detection_latency_seconds_bucket{le="1.6",verdict="hung"} 1',
      'vmpulse_detection_latency_seconds_sum{verdict="hung"} 1.55',
      'vmpulse_event_log_append_seconds_sum 0.002',
    ]) {
      expect(text).toContain(line);
    }
  });

  it('ask their sources when they are read, and show nothing where there is no source', async () => {
    const metrics = new Metrics({ processMetrics: false });
    expect(
      (await lines(metrics)).filter((line) =>
        /^vmpulse_(machines|guests|lane|event_log_(?!append))/.test(line),
      ),
    ).toEqual([]);
    let running = 1;
    metrics.observe({ machines: () => ({ running }), guests: () => ({ hung: 2 }), laneLagMs: () => 250 });
    metrics.observe({ held: () => 3, diskSpace: () => [{ path: '/images', freeBytes: 4_096 }] });
    metrics.observe({
      log: () => ({ writable: false, error: 'x', pending: 4, lost: 5, lastSeq: 6, oldestSeq: 7 }),
    });
    running = 9;
    const text = await lines(metrics);
    for (const line of [
      'vmpulse_machines{state="running"} 9',
      'vmpulse_machines{state="saved"} 0',
      'vmpulse_guests{verdict="hung"} 2',
      'vmpulse_machines_held 3',
      'vmpulse_disk_free_bytes{path="/images"} 4096',
      'vmpulse_lane_lag_seconds 0.25',
      'vmpulse_event_log_writable 0',
      'vmpulse_event_log_pending 4',
      'vmpulse_event_log_lost 5',
      'vmpulse_event_log_last_seq 6',
      'vmpulse_event_log_oldest_seq 7',
    ]) {
      expect(text).toContain(line);
    }
    expect(text.filter((line) => line.startsWith('vmpulse_machines{')).length).toBe(vmStates.length);
    expect(text.filter((line) => line.startsWith('vmpulse_guests{')).length).toBe(verdictNames.length);
    expect(new Set(verdictNames).size).toBe(verdictNames.length);
    expect(verdictNames).toEqual(expect.arrayContaining([...stopVerdictNames]));
  });

  it('tell of webhooks and scripts what they count, and nothing of a webhook that is gone', async () => {
    const metrics = new Metrics({ processMetrics: false });
    const hook = {
      name: 'pager',
      lag: 7,
      retrying: 2,
      deadLetters: 3,
      isOpen: true,
      isDisabled: false,
      attempts: { accepted: 5, refused: 4, unanswered: 1 },
    };
    let webhooks = [hook, { ...hook, name: 'chat', isOpen: false, isDisabled: true }];
    metrics.observe({ webhooks: () => webhooks, scripts: () => ({ running: 1, waiting: 2, skipped: 3 }) });
    metrics.hooks.scriptEnded('timedOut', 1_500);
    const text = await lines(metrics);
    for (const line of [
      'vmpulse_webhook_attempts_total{webhook="pager",outcome="accepted"} 5',
      'vmpulse_webhook_attempts_total{webhook="pager",outcome="refused"} 4',
      'vmpulse_webhook_attempts_total{webhook="pager",outcome="unanswered"} 1',
      'vmpulse_webhook_lag{webhook="pager"} 7',
      'vmpulse_webhook_retrying{webhook="pager"} 2',
      'vmpulse_webhook_dead_letters{webhook="pager"} 3',
      'vmpulse_webhook_circuit_open{webhook="pager"} 1',
      'vmpulse_webhook_circuit_open{webhook="chat"} 0',
      'vmpulse_webhook_disabled{webhook="chat"} 1',
      'vmpulse_scripts_running 1',
      'vmpulse_scripts_waiting 2',
      'vmpulse_scripts_skipped_total 3',
      'vmpulse_script_run_seconds_sum{outcome="timedOut"} 1.5',
      'vmpulse_script_run_seconds_count{outcome="ok"} 0',
      'vmpulse_script_run_seconds_bucket{le="2.5",outcome="timedOut"} 1',
    ]) {
      expect(text).toContain(line);
    }
    webhooks = [hook];
    expect(await metrics.text()).not.toContain('chat');
    expect(await metrics.text()).toContain('attempts_total{webhook="pager",outcome="accepted"} 5');
  });

  it('bring those of the process along', async () => {
    const text = await new Metrics().text();
    expect(text).toMatch(/^vmpulse_process_resident_memory_bytes \d+/m);
    expect(text).toMatch(/^vmpulse_nodejs_eventloop_lag_seconds /m);
    for (const name of text.matchAll(/^# TYPE (\S+)/gm)) expect(name[1]).toMatch(/^vmpulse_/);
  });
});

describe('metrics over HTTP', () => {
  let http: HttpFixture;

  afterEach(async () => {
    await http.server.close();
  });

  it('keep their labels closed, whatever clients send', async () => {
    http = await startHttp();
    await ask(http, 'GET', '/v1/vms/web-1');
    await ask(http, 'GET', '/v1/vms/evil-name');
    await ask(http, 'GET', '/evil-path');
    await ask(http, 'PROPFIND', '/v1/vms');
    const { text, headers } = await ask(http, 'GET', '/metrics');
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(text).not.toContain('evil');
    expect(text).toContain('_count{method="GET",route="/v1/vms/:vm",status="2xx"} 1');
    expect(text).toContain('_count{method="GET",route="/v1/vms/:vm",status="4xx"} 1');
    expect(text).toContain('_count{method="GET",route="unknown",status="4xx"} 1');
    expect(text).toContain('_count{method="other",route="unknown",status="4xx"} 1');
    expect(text).toContain('vmpulse_event_log_last_seq 0');
  });

  it('count the attempts of webhooks, and those of scripts that were skipped', async () => {
    http = await startHttp();
    const answers = [500, 204];
    const endpoint = await Endpoint.start((received, response, request) =>
      answering(answers.shift() ?? 204, {}, '')(received, response, request),
    );
    await ask(http, 'POST', '/v1/webhooks', { body: { name: 'pager', url: endpoint.url } });
    await http.log.append(draft({ id: 'x', name: 'x' }));
    while (http.webhooks.get('pager').failuresInARow === 0) await new Promise(setImmediate);
    let text = await http.metrics.text();
    expect(text).toContain('vmpulse_webhook_attempts_total{webhook="pager",outcome="refused"} 1');
    expect(text).toContain('vmpulse_webhook_lag{webhook="pager"} 1');
    await ask(http, 'PATCH', '/v1/webhooks/pager', { body: { enabled: true } });
    while (http.webhooks.get('pager').lag > 0) await new Promise(setImmediate);
    text = await http.metrics.text();
    expect(text).toContain('vmpulse_webhook_attempts_total{webhook="pager",outcome="accepted"} 1');
    expect(text).toContain('vmpulse_scripts_waiting 0');
    await http.webhooks.close();
    await endpoint.stop();
  });

  it('count streams, and what goes over them, apart from requests', async () => {
    http = await startHttp();
    const reader = await openStreamReader(http.port);
    await http.log.append(draft({ id: 'x', name: 'x' }));
    await reader.until(() => reader.events().length === 1);
    const text = await http.metrics.text();
    expect(text).toContain('vmpulse_streams_open 1');
    expect(text).toContain('vmpulse_stream_events_total 1');
    expect(Number(/stream_bytes_total (\d+)/.exec(text)?.[1])).toBeGreaterThan(300);
    reader.close();
    while ((await http.metrics.text()).includes('vmpulse_streams_open 1')) await new Promise(setImmediate);
    expect(await http.metrics.text()).not.toContain('route="/v1/events"');
  });
});
