/** The vmpulse client, for Node 20 and newer and for browsers: nothing here reaches a module of Node's. */
export { type AdviseOptions, type Connection, type SinkErrorContext } from './connection.ts';
export { DurableSubscriptions } from './durable-subscriptions.ts';
export { GuestOS } from './guest-os.ts';
export { type HoldOptions } from './hold.ts';
export { type AttachScriptOptions } from './script.ts';
export { Incidents } from './incident.ts';
export { MachineRecovery, ServerRecovery } from './recovery.ts';
export { type SinkResult, type VirtualMachineSink, type VirtualServerSink } from './sink.ts';
export { type Gap } from './subscription.ts';
export { Task, type WaitOptions } from './task.ts';
export { type FetchFunction, type RequestOptions } from './transport.ts';
export { type ConfigurationValue, VirtualMachine } from './virtual-machine.ts';
export { type ConnectOptions } from './open-link.ts';
export { type EventsOptions, type ListEventsOptions, VirtualServer } from './virtual-server.ts';
export { type WebhookWithSecret, Webhooks } from './webhook.ts';
export * from '@vmpulse/wire';
