/** Words, tables and shapes that the vmpulse server and its clients share. No dependencies; runs in browsers. */
export * from './enumerations.ts';
export * from './error.ts';
export * from './event.ts';
export * from './guest.ts';
export * from './hresult.ts';
export * from './incident.ts';
export * from './machine.ts';
export * from './name.ts';
export * from './recovery.ts';
export * from './schema.ts';
export * from './script.ts';
export * from './states.ts';
export * from './subscription.ts';
export * from './verdict.ts';
export * from './webhook.ts';
