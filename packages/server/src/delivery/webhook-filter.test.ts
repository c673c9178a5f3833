import { type EventDraft, type VmEvent, type WebhookFilter, toCloudEvent } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { compileFilter } from './webhook-filter.ts';

const vm = { id: '6f1c0e0a-0000-4000-8000-000000000001', name: 'Web-1' };
const event = (type: string, data: object, of?: typeof vm): VmEvent =>
  toCloudEvent({ type, timeMs: 0, data, ...(of === undefined ? {} : { vm: of }) } as EventDraft, 1, 'id');
const stopped = event('heartbeatStopped', { verdict: 'hung' }, vm);
const resumed = event('heartbeatResumed', { outageMs: 1, stoppedSeq: 1 }, vm);
const lost = event('visibilityLost', { verdict: 'starved' }, vm);
const started = event('serviceStarted', {});
const own = event('webhookDisabled', { webhook: 'pager' });
const others = event('webhookDisabled', { webhook: 'other' });

describe('a filter', () => {
  it.each<[WebhookFilter, VmEvent[]]>([
    [{}, [stopped, resumed, lost, started, others]],
    [{ types: ['heartbeatStopped', 'serviceStarted'] }, [stopped, started]],
    [{ machines: ['WEB-1'] }, [stopped, resumed, lost]],
    [{ machines: [vm.id.toUpperCase()] }, [stopped, resumed, lost]],
    [{ machines: ['web-2'] }, []],
    [{ verdicts: ['hung'] }, [stopped]],
    [{ verdicts: ['starved', 'busy'] }, [lost]],
    [{ verdicts: ['hung'], types: ['heartbeatStopped', 'heartbeatResumed'] }, [stopped, resumed]],
    [{ verdicts: ['busy'], types: ['heartbeatStopped', 'heartbeatResumed'] }, [resumed]],
    [{ types: ['webhookDisabled'] }, [others]],
  ])('%j lets through what it says, and never what is about its own webhook', (filter, through) => {
    const all = [stopped, resumed, lost, started, own, others];
    expect(all.filter(compileFilter(filter, 'pager'))).toEqual(through);
  });
});
