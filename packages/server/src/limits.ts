/** Every bound of the server: value, unit (in the name), reason. What happens at a bound is said where it is kept. */

/** Longest line of the ticker's protocol, bytes, newline included (the protocol's own bound). */
export const maxTickLineBytes = 512;
/** Input read from one tick port in one turn before others get theirs: a flooding guest delays nobody. */
export const maxTickBytesPerTurn: number = 65_536;
/** Longest JSON line taken from QMP, bytes: query-blockstats of 24 disks is below 100 KiB. */
export const maxQmpLineBytes: number = 4 * 1024 * 1024;
/** Commands waiting for one QMP connection; more are refused with VM_E_OUT_OF_RESOURCE. */
export const maxQmpQueue = 64;
/** Deadline of an ordinary QMP command. */
export const qmpCommandTimeoutMs: number = 5_000;
/** How long QEMU may take from spawn to an answering QMP. Slow disks and 1,000 starts at once are within it. */
export const qemuStartTimeoutMs: number = 30_000;
/** How long a QEMU told to quit may take before it gets SIGKILL. */
export const qemuQuitTimeoutMs: number = 10_000;
/** What is kept of QEMU's stderr for an error message, bytes. */
export const maxStderrBytes: number = 4_096;
/** Serial log at which its head is cut off, bytes; a guest can write without end. */
export const maxSerialLogBytes: number = 16 * 1024 * 1024;
/** What a cut serial log keeps of its end, bytes. */
export const keptSerialLogBytes: number = 256 * 1024;
/** Longest answer taken from a guest agent, bytes. */
export const maxAgentLineBytes: number = 1024 * 1024;
/** Deadline of an ordinary guest agent command. */
export const agentCommandTimeoutMs: number = 5_000;
/** Programs of one guest that are waited for at once: each is asked after up to four times a second. */
export const maxGuestPrograms = 8;
/** Deadline of freezing and thawing: what is in the guest's caches is written first. */
export const guestFreezeTimeoutMs: number = 20_000;
/** Witnesses answer together within this; one that does not is recorded as silent. */
export const witnessTimeoutMs = 50;
/** In later rounds QEMU's monitor is waited for as long as this: one that is slow is not one that cannot be seen. */
export const slowWitnessTimeoutMs = 500;
/** Machines one server takes. The registry is sized for it: 16 Mi slots of typed arrays are about 1.5 GB. */
export const maxMachines: number = 10_000;
/** Events that wait for the log while it cannot be written; more are dropped, counted, and told as eventsLost. */
export const maxPendingEvents: number = 50_000;
/** Events written in one transaction. */
export const maxEventBatch: number = 1_000;
/** Rows read at once while a stream catches up. */
export const maxEventPage: number = 1_000;
/** Unsent bytes of one event stream at which its reader is disconnected (it resumes by Last-Event-ID). */
export const maxStreamBufferBytes: number = 1024 * 1024;
/** Event streams open at once; more are refused with VMPULSE_E_TOO_MANY_STREAMS. */
export const maxStreams: number = 1_000;
/** A comment goes out on a stream that was idle for this long, so that a dead connection is noticed. */
export const streamHeartbeatMs: number = 15_000;
/** Largest request body, bytes. */
export const maxRequestBytes: number = 1024 * 1024;
/** Ended tasks kept for reading. */
export const maxEndedTasks: number = 1_000;
/** Of what a guest wrote to its serial port, so much is looked at when it falls silent, bytes. */
export const maxSerialTailBytes: number = 8 * 1024;
/** Longest path a Unix socket address takes, bytes (`sockaddr_un.sun_path` less its final NUL). */
export const maxSocketPathBytes = 107;
/** Events of a machine kept until its listener is set; past it the oldest is forgotten. */
export const maxEarlyHypervisorEvents = 256;
/** A QEMU that said nothing for this long is asked for its status, so that a stuck one is noticed. */
export const qmpKeepaliveMs: number = 5_000;
/** How long it may take to answer that before `connectionLost` is raised. */
export const qmpKeepaliveTimeoutMs: number = 2_000;
/** Machines whose processes are looked for at once when the service starts: 1,000 are found within a second. */
export const maxParallelAdoptions = 64;
/** The service is ready though a process was not found out about within this; looking for it goes on beside. */
export const adoptionTimeoutMs: number = 10_000;
/** Pauses between attempts to find out about a machine's process: doubled from the first to the second. */
export const adoptionRetryMs: { readonly first: number; readonly longest: number } = {
  first: 1_000,
  longest: 30_000,
};
/** Machines started at once by autostart: booting is heavy on disks. */
export const maxParallelAutostarts = 4;
/** Machines saved or shut down at once when the service stops: saving is heavy on disks. */
export const maxParallelQuits = 8;
/** How long an orderly stop of the service may take in all; machines not done by then are left running. */
export const serviceStopTimeoutMs: number = 80_000;
/** How long a guest asked to shut down may take until the task ends with VM_E_TIMED_OUT. */
export const guestShutdownTimeoutMs: number = 120_000;
/** How long a file a machine needs may take to be looked at: network file systems hang. */
export const fileCheckTimeoutMs: number = 5_000;
/** How long a request that must be durable waits for the log. */
export const durableAppendTimeoutMs: number = 5_000;
/** How long an ended task waits for its events to be durable before it shows as complete all the same. */
export const taskDurabilityTimeoutMs: number = 1_000;
/** How often what was learned of running guests is compared with what is stored. */
export const memorySweepMs: number = 5_000;
/** How often the time of the last tick is stored, where nothing else of the record changed. */
export const memorySaveMs: number = 60_000;
/** Records written together by one sweep, so that a sweep never fills the log's queue. */
export const maxSweepWrites = 100;
/** Longest name that suggestions are looked up for, characters: the distance costs its square. */
export const maxSuggestionLength = 256;
/** Longest text kept of what a guest says of itself, characters. */
export const maxGuestTextLength = 256;
/** How often a machine's logs are looked at for their size; an emulated serial port writes below 1 MB/s. */
export const logCheckMs: number = 60_000;
/** QEMU's stderr file at which its head is cut off, bytes. */
export const maxStderrLogBytes: number = 1024 * 1024;
/** QEMU's log of resets (tcg only) at which it is emptied between two resets, and what of it is looked at, bytes. */
export const maxResetLogBytes: number = 256 * 1024;
/** How long a process is taken to be in the control group it was seen in. */
export const cgroupCheckMs: number = 1_000;
/** First pause between attempts to reach QEMU's monitor again, or to see whether a process is gone; it doubles. */
export const reconnectMinMs = 1;
/** The longest of these pauses: a monitor that answers again is seen within it. */
export const reconnectMaxMs: number = 1_000;
/** A monitor connection that broke is told as lost after this; a process about to be gone is told as exited instead. */
export const connectionGraceMs = 250;
/** Longest time a machine's state may take to be written or read; progress is reported meanwhile. */
export const saveTimeoutMs: number = 3_600_000;
/** How often a save or a restore is asked for its progress. */
export const saveProgressMs = 100;
/** How long a cancelled save may take until the guest runs again. */
export const saveCancelTimeoutMs: number = 30_000;
/** How long the accelerator probe's tiny guest may take. */
export const probeTimeoutMs: number = 5_000;
/** How long the last bytes of a saved state may take to its file after QEMU wrote them to its pipe. */
export const saveFinishTimeoutMs: number = 10_000;
/** How long that guest, once it runs, may take for work that a processor does in 20 ms; the host may be loaded. */
export const probeWorkTimeoutMs: number = 2_000;
/** Longest request head, bytes: a name of 256 characters, percent-encoded, is below 4 KiB. */
export const maxHttpHeadBytes: number = 16 * 1024;
/** Longest `{vm}` in a path, characters: 256 characters of four UTF-8 bytes, percent-encoded. */
export const maxPathParameterLength: number = 3 * 4 * 256;
/** A request head must have come within this; a client that dribbles (slowloris) is cut off. */
export const httpHeadTimeoutMs: number = 10_000;
/** A whole request must have come within this. */
export const httpRequestTimeoutMs: number = 30_000;
/** How often connections are checked against the two above. */
export const httpConnectionCheckMs: number = 2_000;
/** An idle kept-alive connection is closed after this; longer than the pause of a scraper or a proxy. */
export const httpKeepAliveTimeoutMs: number = 65_000;
/** A connection on which neither side sent a byte for this is cut off (streams have their own bound). */
export const httpIdleTimeoutMs: number = 90_000;
/** A TLS handshake must end within this. */
export const tlsHandshakeTimeoutMs: number = 10_000;
/** Connections of one listener; more are closed at once. Twice the streams, so that ordinary requests find a place. */
export const maxHttpConnections: number = 2_048;
/** How long an answer may wait for the service, below what clients wait. */
export const httpAnswerTimeoutMs: number = 25_000;
/** Events of one page at most. */
export const maxPageEvents: number = 1_000;
/** Events of one page where the client does not say how many. */
export const defaultPageEvents: number = 100;
/** Values that one filter of the event list takes: there are fewer types. */
export const maxFilterValues = 64;
/** Nesting of a request's JSON: a configuration has 4 levels. */
export const maxJsonDepth = 16;
/** Bytes gathered for one write on an event stream; above it the stream waits for its reader. */
export const streamWriteBytes: number = 64 * 1024;
/** Bytes a stream writes before others get their turn: a stream that catches up delays nobody. */
export const streamTurnBytes: number = 256 * 1024;
/** A stream whose reader took nothing for this is cut off; it resumes by Last-Event-ID. */
export const streamStallTimeoutMs: number = 20_000;
/** What a browser is told to wait before it reconnects a stream. */
export const streamRetryMs = 1_000;
/** What a client refused at the bound of streams is told to wait, seconds. */
export const streamRetryAfterSeconds = 10;
/** Frames of the newest events kept to be sent to every stream: a burst of some batches is within it. */
export const maxCachedFrames: number = 4_096;
/** A larger frame is made anew for each stream: the cache stays below 64 MiB. */
export const maxCachedFrameBytes: number = 16 * 1024;
/** How long closing waits for requests under way. */
export const httpCloseTimeoutMs: number = 3_000;
/** How long one waits for whoever may hold the Unix socket. */
export const socketProbeTimeoutMs: number = 1_000;
/** Events a stream holds while its reader takes the ones before. */
export const streamPageEvents = 250;

/** Shortest hold on a watch, ms: one of less ends before its operator has turned around. */
export const minHoldMs: number = 1_000;
/** Longest hold on a watch, ms: a week. A machine that nobody watches for longer wants `heartbeat.watch` off. */
export const maxHoldMs: number = 7 * 24 * 3_600_000;
/** Longest reason of a hold, characters. */
export const maxHoldReasonLength = 500;

/** A reset within this of the one before is the firmware's part of it; see docs/adr/0009-resets-of-the-firmware.md. */
export const firmwareResetMs: number = 3_000;

// Durable subscriptions.
/** Subscriptions of one server; each costs a cursor, and while it is served a stream and its events in flight. */
export const maxSubscriptions = 200;
/** Events sent to a consumer and not acknowledged; more are sent as it acknowledges. */
export const maxInFlightEvents = 256;
/** Consumers of one subscription that wait to take over. */
export const maxStandbyConsumers = 8;
/** Dead letters of one subscription, kept in memory with their events; at the bound the oldest is dropped, and told. */
export const maxDeadLetters = 100;
/** How long cursors that moved are gathered before they are written together: what is lost is delivered again. */
export const cursorSaveMs = 100;
/** How long a cursor that only passed over events nobody wanted may wait to be written. */
export const passedCursorSaveMs: number = 5_000;
/** Pause before an event that was not taken is delivered again: it doubles from the first to the longest. */
export const redeliveryMs: { readonly first: number; readonly longest: number } = {
  first: 500,
  longest: 60_000,
};
/** How late the timer of an acknowledgement's deadline may be; later, the service stood still and it begins anew. */
export const maxAckTimerLateMs: number = 1_000;
/** Bytes unsent to one consumer at which it is cut off: refusing without reading must not fill the memory. */
export const maxConsumerBacklogBytes: number = 32 * 1024 ** 2;
/** Pause before a subscription reads on when the log could not be read. */
export const subscriptionReadRetryMs: number = 1_000;
// Webhooks (delivery/webhook*.ts).

/** Webhooks of one server. Each takes at most one attempt's socket and the two lists below. */
export const maxWebhooks = 100;
/** Longest URL of a webhook, characters. */
export const maxWebhookUrlLength: number = 2_048;
/** Machines that one webhook's filter names. */
export const maxWebhookMachines: number = 1_000;
/** Deadline of one attempt: shortest, default and longest, ms; the specification recommends 15 to 30 s. */
export const webhookTimeoutMs: { readonly min: number; readonly usual: number; readonly max: number } = {
  min: 1_000,
  usual: 15_000,
  max: 30_000,
};
/** Longest a test waits, ms: below what an answer of ours may take. */
export const webhookTestTimeoutMs: number = 20_000;
/** What is read of an answer's body, bytes; then the connection is closed. */
export const maxWebhookAnswerBytes: number = 64 * 1024;
/** How long an answer's body may take after its head, ms: the head says it all. */
export const webhookBodyTimeoutMs: number = 2_000;
/** What a test tells of the answer's body, bytes. */
export const webhookAnswerExcerptBytes: number = 1_024;
/** Connections of one webhook: one that delivers, and one for tests. */
export const maxWebhookSockets = 2;
/** Longest PEM text of a webhook's certificate authorities, characters. */
export const maxWebhookCaLength: number = 32 * 1024;
/** Certificates in it. */
export const maxWebhookCaCertificates = 16;
/** Names looked up at once: each takes a thread of the four that files are read with too. */
export const maxWebhookLookups = 2;
/** Events of one webhook that are tried again beside the line. At the bound the line itself waits. */
export const maxWebhookRetries = 200;
/** Dead letters of one webhook; past it the oldest is lost and counted. */
export const maxWebhookDeadLetters = 200;
/** Events of one webhook's line read ahead. */
export const webhookPageEvents = 64;
/** Failed attempts in a row that open the circuit. */
export const webhookCircuitFailures = 5;
/** While the circuit is open: the first and the longest pause between attempts, ms; it doubles. */
export const webhookProbeMs: { readonly first: number; readonly longest: number } = {
  first: 30_000,
  longest: 600_000,
};
/** Longest Retry-After that is honoured, ms; the endpoint asked for it, so the line waits as well. */
export const maxWebhookRetryAfterMs: number = 3_600_000;
/** How often a cursor that moved without a delivery (filtered events) is stored, ms. */
export const webhookCursorSaveMs: number = 60_000;
/** Pause after a write or a read of the log failed, ms. */
export const webhookRepairMs: number = 5_000;
/** How long a former secret signs too unless asked otherwise, and at most, ms. */
export const webhookSecretKeepMs: { readonly usual: number; readonly max: number } = {
  usual: 24 * 3_600_000,
  max: 7 * 24 * 3_600_000,
};
/** Former secrets that sign; past it the oldest signs no more. */
export const maxWebhookOldSecrets = 3;
/** How long the end of the service waits for what is left to be told, ms; the next start tells the rest. */
export const webhookCloseTimeoutMs: number = 2_000;
/** How often it looks meanwhile, ms. */
export const webhookDrainPollMs = 20;
/** A fault of a machine's disk or memory like one that was told is told again after this; those between are counted. */
export const hardwareFaultPauseMs: number = 60_000;
/** Faults of one process told apart: a disk has at most three, and there are 24 disks. */
export const maxHardwareFaultKinds = 80;

// Disk space.

/** Free bytes below which a file system is told as short of space: the original's bound. */
export const diskSpaceWarningBytes: number = 100 * 1024 ** 2;
/** Free bytes below which the machines on it are paused: the original's bound. */
export const diskSpaceErrorBytes: number = 20 * 1024 ** 2;
/** Space counts as regained half a bound above it, and no more than this above, bytes. */
export const maxDiskSpaceMargin: number = 256 * 1024 ** 2;
/** How fast a disk is taken to fill, bytes a second: looks come so often that a bound is not passed unseen by more. */
export const diskFillBytesPerSecond: number = 1_000_000_000;
/** Pause between two looks where there is plenty of space. */
export const maxDiskLookMs: number = 10_000;
/** Pause between two looks near a bound; some 20 us of work each. */
export const minDiskLookMs = 250;
/** Pause between two looks while machines are paused for want of space: somebody has to make room. */
export const lowDiskLookMs: number = 1_000;
/** How long a look may take; network file systems hang. It goes on beside, and no other begins there. */
export const diskLookTimeoutMs: number = 2_000;
/** Looks that hang at once, each with a thread of the pool's four; one more only on a disk of the host's own. */
export const maxHungLooks = 2;
/** Space that was not known for this long is told as diskSpaceUnknown. */
export const diskUnknownMs: number = 10_000;
/** Which file system a file is on is looked at again after this. */
export const diskPlaceMs: number = 60_000;
/** A machine that could not be paused or resumed is tried again after this. */
export const diskRetryMs: number = 10_000;
/** Machines named in an event of disk space. */
export const maxDiskSpaceNames = 100;

// Scripts on events.

/** Scripts attached at once, of the server and of all machines. */
export const maxScripts: number = 1_000;
/** Scripts that run at once: a host whose guests all stop has work to do. */
export const maxRunningScripts = 8;
/** Events that wait for one script; it is not run for more, which is told as scriptsSkipped. */
export const maxScriptQueue = 64;
/** What is kept of the end of a script's output, bytes. */
export const keptScriptOutputBytes: number = 4 * 1024;
/** A script's output is read so many bytes at a time, with a pause between: one that floods delays nobody. */
export const scriptOutputTurnBytes: number = 64 * 1024;
/** That pause, ms: a script's output is read at 6 MB/s at most. */
export const scriptOutputPauseMs = 10;
/** How long a script's processes have from SIGTERM to SIGKILL. */
export const scriptTermMs: number = 5_000;
/** How long its processes may take to be gone after SIGKILL; a zombie nobody reaps is waited for no longer. */
export const scriptKillMs: number = 1_000;
/** How often it is looked whether they are gone. */
export const scriptGonePollMs = 20;
/** How long what is left in a script's pipes may take to come once its processes are gone. */
export const scriptDrainMs = 250;
/** How long an orderly stop of the service waits for scripts, those on serviceStopped among them. */
export const scriptStopMs: number = 5_000;
/** How long a script has from SIGTERM to SIGKILL once that is over. */
export const scriptStopTermMs: number = 1_000;
/** Attempts at one run that ends of the service cut off: a script that restarts the service must not do so for ever. */
export const maxScriptAttempts = 5;
/** How long the rest of an orderly stop may take: processes that end, and the last words written. */
export const scriptEndMs: number = 4_000;
/** How long the removal of a run's directory may take. */
export const scriptRemoveMs: number = 10_000;
/** Events without a script after which the cursor is stored; read again after a crash, they run none. */
export const scriptCursorStride = 500;
/** Pause after which what could not be read or stored is tried again. */
export const scriptRetryMs: number = 1_000;
/** How long the user database may take to name the scripts' user. */
export const scriptUserTimeoutMs: number = 5_000;
// Recovery.
/** Longest pause between two attempts at one machine, ms: an hour, the window in which attempts are counted. */
export const maxRecoveryBackoffMs: number = 3_600_000;
/** A recovery that is held back is looked at again after this, ms; what holds it back is no event in every case. */
export const recoveryRecheckMs: number = 2_000;
/** Attempts kept of one machine: more than any window may count. */
export const maxRecoveryHistory = 100;
/** Stops within this of each other are counted together by the fleet brake, ms. */
export const fleetWindowMs: number = 60_000;
/** Events read before recovery's place in the log is stored again, where no event of its own stores it. */
export const recoveryCursorEvery = 500;
/** Load of one minute for each processor above which the host counts as not well: boots would run into timeouts. */
export const maxHostLoad = 4;
/** How long a machine counts as being recovered after its last step, ms: a boot, for the fleet brake. */
export const fleetRecoveringMs: number = 120_000;
/** How long an answer on how the host is serves all machines that are held back, ms: it is read from files. */
export const hostLookMs: number = 1_000;
/** From when on a stall of the service counts, ms: heartbeats are read late then, and a guest may live again. */
export const recoveryStallMs: number = 2_000;
/** So often recovery looks whether the service stood still, ms. */
export const sightLookMs: number = 1_000;
/**
 * So long after the start of the service, or a stall of its own, no guest is disturbed, ms (three of its intervals
 * where that is more): what is known of it was true before, and its heartbeats are waited for. ADR 0017 has its 10 s.
 */
export const recoverySightMs: number = 15_000;
/** A stall of the service makes the host count as not well for this long, ms. */
export const stallTroubleMs: number = 60_000;
/** How long evidence may take in all, with the wait for its turn, ms, where its gatherer says nothing else. */
export const evidenceTimeoutMs: number = 60_000;

// Evidence.
/** How long one part of the evidence may take, ms: the reset waits for it. */
export const evidencePartTimeoutMs: number = 5_000;
/** What is kept of the end of a serial log. */
export const maxSerialEvidenceBytes: number = 64 * 1024;
/** Largest screenshot kept, bytes: a 4K screen of noise, as PNG; the guest says what is on it. */
export const maxScreenshotBytes: number = 32 * 1024 ** 2;
/** Machines whose evidence is gathered at once. */
export const maxParallelEvidence = 4;
/** Incidents kept; the oldest go first. */
export const maxIncidents = 200;
/** Bytes of all incidents together. */
export const maxIncidentBytes: number = 512 * 1024 ** 2;

// Memory dumps.
/** How long a dump of a guest's memory may take, ms: the guest stands still, and the reset waits for it. */
export const memoryDumpTimeoutMs: number = 60_000;
/** How long QEMU may take to let the guest go after a dump ended or was cut off, ms. */
export const memoryDumpReleaseTimeoutMs: number = 5_000;
/** Between two questions whether it has, ms. */
export const memoryDumpPollMs: number = 20;
/** What a dump has beside the guest's memory: headers, and the memory of its devices. */
export const memoryDumpMarginBytes: number = 64 * 1024 ** 2;
/** Disk that a dump leaves free. */
export const freeBytesAfterDump: number = 512 * 1024 ** 2;
/** Bytes of all dumps together; the oldest go first, the newest stays however large it is. */
export const maxMemoryDumpBytes: number = 16 * 1024 ** 3;
/** What of a file of an incident is answered as JSON at once. */
export const maxIncidentPieceBytes: number = 1024 ** 2;
