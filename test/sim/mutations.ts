/** Known ways to get it wrong, each a small patch of the sources and the trial in which it must be seen. */
import type { Trial } from './scenario.ts';

/** One planted bug. */
export interface Mutation {
  readonly name: string;
  /** Each text must be found exactly once in its file, below packages/server/src. */
  readonly edits: readonly { readonly file: string; readonly find: string; readonly put: string }[];
  readonly trial: Trial;
}

const edit = (file: string, find: string, put: string): Mutation['edits'][number] => ({ file, find, put });
const trial = (kinds: Trial['kinds'], ...service: Trial['service']): Trial => ({ kinds, service });
/** All guests are recovered, with trouble in the midst of it. */
const recovering = (...service: Trial['service']): Trial => ({
  kinds: ['hang', 'spin', 'exit', 'panic'],
  service,
  meddleShare: 0.1,
});

/** All of them. */
export const mutations: readonly Mutation[] = [
  {
    name: 'judges on a naive timer instead of the watermark',
    edits: [
      edit('monitor/lane.ts', 'clock.afterPoll(() => {', '((work: () => void): void => work())(() => {'),
      edit('monitor/lane.ts', 'stalled(stall);', 'void stalled;'),
      edit('monitor/pursuit.ts', 'guest.host.overdue(guest.nowMs)', 'guest.released'),
      edit(
        'monitor/inquiry.ts',
        'this.clock.afterPoll(() => {',
        '((work: () => void): void => work())(() => {',
      ),
    ],
    trial: trial(['lateInMargin'], 'stall'),
  },
  {
    name: 'forgets that a stall of its own counts against nobody',
    edits: [edit('monitor/lane.ts', 'stalled(stall);', 'void stalled;')],
    trial: trial(['lateInMargin'], 'stall'),
  },
  {
    name: 'forgets that QEMU paused the guest',
    edits: [edit('monitor/happening.ts', "hold(guest, teller, 'qemu');", 'break;')],
    trial: trial(['pause', 'snapshotPause', 'migration']),
  },
  {
    name: 'does not take the pause off the silence',
    edits: [
      edit('monitor/guest.ts', 'this.silence.excuse(pausedMs);', 'void pausedMs;'),
      edit('monitor/guest.ts', 'this.reprieve(coldMarginMs);', 'this.reprieve(0);'),
    ],
    trial: trial(['pause', 'snapshotPause', 'save']),
  },
  {
    name: 'gives a guest that was reset no time to boot',
    edits: [
      edit(
        'monitor/happening.ts',
        'openBootWindow(guest, !event.byGuest);',
        "guest.enter({ is: 'armed', late: null });",
      ),
    ],
    trial: trial(['reboot', 'longBoot', 'hostReset']),
  },
  {
    name: 'counts the boot window twice',
    edits: [
      edit(
        'monitor/deadline.ts',
        'return Math.min(nowMs + windowMs, firstResetMs + maxMs);',
        'return Math.min(nowMs + 2 * windowMs, firstResetMs + 2 * maxMs);',
      ),
    ],
    trial: trial(['bootHangs']),
  },
  {
    name: 'measures silence by the wall clock',
    edits: [
      edit(
        'monitor/monitor.ts',
        'const { clock, log, observer } = options;',
        'const { log, observer } = options;\n    const clock = Object.assign(Object.create(options.clock) as Clock, ' +
          '{ monotonicMs: () => options.clock.wallMs() });',
      ),
    ],
    trial: trial(['lateInMargin', 'hang'], 'wall'),
  },
  {
    name: 'goes on waiting for ticks after a bye',
    edits: [edit('monitor/hearing.ts', "if (reason !== 'stop' && !booting) {", 'if (reason === null) {')],
    trial: trial(['reboot', 'shutdown']),
  },
  {
    name: 'tells a stop again and again',
    edits: [
      edit('monitor/teller.ts', "guest.enter({ is: 'stopped' });", ''),
      edit('monitor/teller.ts', "guest.retelling === 'all' ||", 'true ||'),
    ],
    trial: trial(['hang', 'spin', 'panic']),
  },
  {
    name: 'never tells that a heartbeat resumed',
    edits: [
      edit('monitor/teller.ts', "if (announcer.isOpen('heartbeatStopped')) {", 'if (first === null) {'),
    ],
    trial: trial(['hang', 'panic']),
  },
  {
    name: 'takes waiting for a host processor for idling',
    edits: [
      edit(
        'monitor/verdict.ts',
        'if (load.delayShare >= starvedShare) {',
        'if (load.delayShare > 2 * starvedShare) {',
      ),
      edit('monitor/verdict.ts', 'return runShare + delayShare < idleShare', 'return runShare < idleShare'),
    ],
    trial: trial(['starved']),
  },
  {
    name: 'takes a blocked vCPU for an idle one',
    edits: [edit('monitor/verdict.ts', 'if (load.blocked) return', 'if (load.overMs < 0) return')],
    trial: trial(['blocked']),
  },
  {
    name: 'takes a QEMU that does not answer for a dead guest',
    edits: [
      edit(
        'monitor/verdict.ts',
        "if (runState === 'silent') return",
        "if (processState === 'silent') return",
      ),
    ],
    trial: trial(['qmpStuck']),
  },
  {
    name: 'allows no lateness',
    edits: [
      edit('monitor/deadline.ts', 'const learnedMs = Math.min(', 'const learnedMs = 0 * Math.min('),
      edit('monitor/deadline.ts', 'Math.max(coldMarginMs, learnedMs) : learnedMs', 'learnedMs : learnedMs'),
    ],
    trial: trial(['lateInMargin', 'latePastMargin', 'tickAtDeadline']),
  },
  {
    name: 'never learns how late a guest is',
    edits: [
      edit(
        'monitor/deadline.ts',
        'Math.max(coldMarginMs, learnedMs) : learnedMs',
        'coldMarginMs : coldMarginMs',
      ),
    ],
    trial: trial(['hang']),
  },
  {
    name: 'has no patience with a loaded guest',
    edits: [
      edit(
        'monitor/policy.ts',
        "if (verdict === 'spinning') return patience.spinningMs;",
        "if (verdict === 'spinning') return 0;",
      ),
    ],
    trial: trial(['spinBack']),
  },
  {
    name: 'does not see that disks move',
    edits: [edit('monitor/verdict.ts', 'if (ioMoved === true) return', 'if (ioMoved === null) return')],
    trial: trial(['busy', 'busyBack']),
  },
  {
    name: 'does not believe the guest agent',
    edits: [
      edit('monitor/verdict.ts', "if (answers.agent === 'answered') {", 'if (answers.agent === null) {'),
    ],
    trial: trial(['tickerStopped']),
  },
  {
    name: 'does not hear that the ticker closed its port',
    edits: [edit('monitor/happening.ts', "guest.tickerGone ??= 'portClosed';", '')],
    trial: trial(['tickerKilled']),
  },
  {
    name: 'does not wait for a crash dump',
    edits: [edit('monitor/crash.ts', 'openDump(guest);\n      break;', 'break;')],
    trial: trial(['crashDump']),
  },
  {
    name: 'does not tell who was found dead',
    edits: [edit('monitor/guest-watch.ts', "if (how === 'foundDead') {", 'if (how === null) {')],
    trial: trial(['kill', 'exit'], 'kill', 'stop'),
  },
  {
    name: 'forgets over a restart what it told',
    edits: [edit('monitor/announcer.ts', 'of conditions) {', 'of conditions.slice(0, 0)) {')],
    trial: trial(['hang', 'panic', 'spin'], 'kill'),
  },
  {
    name: 'judges whose watch is held',
    edits: [
      edit('monitor/guest.ts', '&& !this.suspensions.any && !this.isHeld;', '&& !this.suspensions.any;'),
    ],
    trial: trial(['hold']),
  },
  {
    name: 'judges a flooded port as silent',
    edits: [
      edit(
        'monitor/pursuit.ts',
        'if (guest.backlogged()) return upToMs',
        'if (guest.released) return upToMs',
      ),
      edit('monitor/pursuit.ts', 'if (guest.backlogged()) return this', 'if (guest.released) return this'),
    ],
    trial: trial(['flood']),
  },
  {
    name: 'loses an event at the cutover of a stream',
    edits: [
      edit(
        'event/outbox.ts',
        "this.#cursor >= this.#backfillEnd) this.#phase = 'cutover';",
        "this.#cursor >= this.#backfillEnd) {\n      this.#phase = 'cutover';\n" +
          '      this.#cursor = this.#known;\n    }',
      ),
    ],
    trial: trial(['panic', 'exit', 'hang', 'pause', 'hostReset'], 'kill', 'mass'),
  },
  {
    name: 'serves what is not on disk yet',
    edits: [
      edit(
        'store/sqlite-store.ts',
        'this.#queue.add(this.#pendingEvent(draft, effect, fulfil, reject));',
        'const pending = this.#pendingEvent(draft, effect, fulfil, reject);\n      this.#queue.add(pending);\n' +
          '      this.#lastSeq += 1;\n      pending.written(this.#lastSeq);\n      this.#tellListeners();',
      ),
    ],
    trial: trial(['panic', 'exit', 'hang']),
  },
  {
    name: 'recovery does not look again before the step',
    edits: [
      edit('recovery/step-runner.ts', 'if (against !== null) {', 'if (against !== null && isOver) {'),
      edit('recovery/step.ts', '() => !ticked(', '() => true || !ticked('),
    ],
    trial: recovering('disk', 'stall'),
  },
  {
    name: 'recovery does not listen to a guest after a restart',
    edits: [edit('recovery/plan.ts', 'nowMs < seenFromMs ? { do:', 'nowMs + Infinity < seenFromMs ? { do:')],
    trial: recovering('kill', 'stop'),
  },
  {
    name: 'recovery forgets at a restart what it tried',
    edits: [
      edit(
        'recovery/book.ts',
        'notLater(value as RecoveryRecord, this.nowMs())',
        '{ ...notLater(value as RecoveryRecord, this.nowMs()), attempts: [], gaveUp: null }',
      ),
    ],
    trial: recovering('kill', 'stop'),
  },
  {
    name: 'recovery stores its place without what it read up to there',
    edits: [
      edit(
        'recovery/book.ts',
        'if (!written.has(vmId)) read = Math.min(read, seq - 1);',
        'if (!written.has(vmId)) read = Math.max(read, seq - 1);',
      ),
      edit(
        'recovery/book.ts',
        'return this.#storeAll([...this.#unstored.keys()]);',
        'return this.#storeAll([]);',
      ),
    ],
    trial: recovering('kill', 'stop', 'mass'),
  },
  {
    name: 'recovery ignores the hold',
    edits: [edit('recovery/plan.ts', 'if (hold !== null) return held(', "if (hold === '') return held(")],
    trial: recovering('stall'),
  },
  {
    name: 'recovery counts no attempt within its window',
    edits: [
      edit(
        'recovery/plan.ts',
        'attemptsMs.filter((atMs) => atMs > nowMs - policy.windowMs)',
        'attemptsMs.filter((atMs) => atMs > nowMs + policy.windowMs)',
      ),
    ],
    trial: recovering(),
  },
  {
    name: 'recovery tells the step after it did it',
    edits: [
      edit(
        'recovery/step-runner.ts',
        "const { seq } = await this.#book.tell({ ...record, attempts, incident: begun }, 'recoveryStep', data);\n" +
          '      await this.#readBack(vmId, seq);',
        "this.#book.tell({ ...record, attempts, incident: begun }, 'recoveryStep', data).catch(() => undefined);",
      ),
    ],
    trial: recovering(),
  },
  {
    name: 'recovery takes the host for well right after a stall',
    edits: [edit('recovery/sight.ts', 'this.#lengthMs = lengthMs;', 'void lengthMs;')],
    trial: recovering('stall', 'mass'),
  },
  {
    name: 'recovery has no brake',
    edits: [edit('recovery/plan.ts', 'if (others < atOnce) return null;', 'if (others < 100) return null;')],
    trial: recovering('mass'),
  },
];
