/**
 * The 25 enumerations of Microsoft Virtual Server 2005 R2 SP1, with its own member names and values, so that a
 * program written against the original finds every number it knew. `enumerations.test.ts` holds them against the
 * facts; vmpulse's own words for states and operations are in `states.ts`.
 */

/** `VHD_FLAGS` of the original. */
export const VHD_FLAGS: {
  readonly VHD_NORMAL: 0;
  readonly VHD_NW_MAPPED: 1;
  readonly VHD_MOUNT_AS_READONLY: 2;
  readonly VHD_FORCE_UNMOUNT: 3;
} = {
  VHD_NORMAL: 0,
  VHD_NW_MAPPED: 1,
  VHD_MOUNT_AS_READONLY: 2,
  VHD_FORCE_UNMOUNT: 3,
};

/** `VMAccessRightsType` of the original. */
export const VMAccessRightsType: {
  readonly vmAccessRights_Allowed: 0;
  readonly vmAccessRights_Denied: 1;
} = {
  vmAccessRights_Allowed: 0,
  vmAccessRights_Denied: 1,
};

/** `VMAutoStartType` of the original. */
export const VMAutoStartType: {
  readonly vmAutoStart_Never: 0;
  readonly vmAutoStart_Always: 1;
  readonly vmAutoStart_IfRunningAtQuit: 2;
} = {
  vmAutoStart_Never: 0,
  vmAutoStart_Always: 1,
  vmAutoStart_IfRunningAtQuit: 2,
};

/** `VMDisplayVideoMode` of the original. */
export const VMDisplayVideoMode: {
  readonly vmVideoMode_TextMode: 0;
  readonly vmVideoMode_CGAMode: 1;
  readonly vmVideoMode_VGAMode: 2;
  readonly vmVideoMode_SVGAMode: 3;
} = {
  vmVideoMode_TextMode: 0,
  vmVideoMode_CGAMode: 1,
  vmVideoMode_VGAMode: 2,
  vmVideoMode_SVGAMode: 3,
};

/** `VMDriveBusType` of the original. */
export const VMDriveBusType: {
  readonly vmDriveBusType_Invalid: 0;
  readonly vmDriveBusType_IDE: 0;
  readonly vmDriveBusType_SCSI: 1;
} = {
  vmDriveBusType_Invalid: 0,
  vmDriveBusType_IDE: 0,
  vmDriveBusType_SCSI: 1,
};

/** `VMDriveType` of the original. */
export const VMDriveType: {
  readonly vmDriveType_Null: 0;
  readonly vmDriveType_HardDisk: 1;
  readonly vmDriveType_DVD: 2;
} = {
  vmDriveType_Null: 0,
  vmDriveType_HardDisk: 1,
  vmDriveType_DVD: 2,
};

/** `VMDVDDriveAttachmentType` of the original. */
export const VMDVDDriveAttachmentType: {
  readonly vmDVDDrive_None: 0;
  readonly vmDVDDrive_Image: 1;
  readonly vmDVDDrive_HostDrive: 2;
} = {
  vmDVDDrive_None: 0,
  vmDVDDrive_Image: 1,
  vmDVDDrive_HostDrive: 2,
};

/** `VMDVDDriveEvent` of the original. */
export const VMDVDDriveEvent: {
  readonly vmDVDDriveEvent_OnInsert: 1;
  readonly vmDVDDriveEvent_OnEject: 2;
} = {
  vmDVDDriveEvent_OnInsert: 1,
  vmDVDDriveEvent_OnEject: 2,
};

/** `VMEventType` of the original. */
export const VMEventType: {
  readonly vmEvent_VirtualServerStarted: 0;
  readonly vmEvent_VirtualServerStopped: 1;
  readonly vmEvent_VirtualMachineLaunched: 2;
  readonly vmEvent_VirtualMachineStateRestored: 3;
  readonly vmEvent_VirtualMachineStateSaved: 4;
  readonly vmEvent_VirtualMachineTurnedOff: 5;
  readonly vmEvent_VirtualMachineTurnedOffByGuest: 6;
  readonly vmEvent_VirtualMachineReset: 7;
  readonly vmEvent_VirtualMachineNoHeartbeat: 8;
  readonly vmEvent_VirtualMachineProcessorError: 9;
  readonly vmEvent_VirtualMachineHostDiskSpaceWarning: 10;
  readonly vmEvent_VirtualMachineHostDiskSpaceError: 11;
} = {
  vmEvent_VirtualServerStarted: 0,
  vmEvent_VirtualServerStopped: 1,
  vmEvent_VirtualMachineLaunched: 2,
  vmEvent_VirtualMachineStateRestored: 3,
  vmEvent_VirtualMachineStateSaved: 4,
  vmEvent_VirtualMachineTurnedOff: 5,
  vmEvent_VirtualMachineTurnedOffByGuest: 6,
  vmEvent_VirtualMachineReset: 7,
  vmEvent_VirtualMachineNoHeartbeat: 8,
  vmEvent_VirtualMachineProcessorError: 9,
  vmEvent_VirtualMachineHostDiskSpaceWarning: 10,
  vmEvent_VirtualMachineHostDiskSpaceError: 11,
};

/** `VMFloppyDiskImageType` of the original. */
export const VMFloppyDiskImageType: {
  readonly vmFloppyDiskImage_Unknown: 0;
  readonly vmFloppyDiskImage_LowDensity: 1;
  readonly vmFloppyDiskImage_HighDensity: 2;
  readonly vmFloppyDiskImage_DMF: 3;
  readonly vmFloppyDiskImage_LowDensitySingleSided: 4;
  readonly vmFloppyDiskImage_MediumDensity: 5;
  readonly vmFloppyDiskImage_HighDensityMSS: 6;
} = {
  vmFloppyDiskImage_Unknown: 0,
  vmFloppyDiskImage_LowDensity: 1,
  vmFloppyDiskImage_HighDensity: 2,
  vmFloppyDiskImage_DMF: 3,
  vmFloppyDiskImage_LowDensitySingleSided: 4,
  vmFloppyDiskImage_MediumDensity: 5,
  vmFloppyDiskImage_HighDensityMSS: 6,
};

/** `VMFloppyDriveAttachmentType` of the original. */
export const VMFloppyDriveAttachmentType: {
  readonly vmFloppyDrive_None: 0;
  readonly vmFloppyDrive_Image: 1;
  readonly vmFloppyDrive_HostDrive: 2;
} = {
  vmFloppyDrive_None: 0,
  vmFloppyDrive_Image: 1,
  vmFloppyDrive_HostDrive: 2,
};

/** `VMFloppyDriveEvent` of the original. */
export const VMFloppyDriveEvent: {
  readonly vmFloppyDriveEvent_OnInsert: 1;
  readonly vmFloppyDriveEvent_OnEject: 2;
} = {
  vmFloppyDriveEvent_OnInsert: 1,
  vmFloppyDriveEvent_OnEject: 2,
};

/** `VMHardDiskType` of the original. */
export const VMHardDiskType: {
  readonly vmDiskType_Dynamic: 0;
  readonly vmDiskType_FixedSize: 1;
  readonly vmDiskType_Differencing: 2;
  readonly vmDiskType_HostDrive: 4;
} = {
  vmDiskType_Dynamic: 0,
  vmDiskType_FixedSize: 1,
  vmDiskType_Differencing: 2,
  vmDiskType_HostDrive: 4,
};

/** `VMMouseButton` of the original. */
export const VMMouseButton: {
  readonly vmMouseButton_Left: 1;
  readonly vmMouseButton_Right: 2;
  readonly vmMouseButton_Center: 3;
} = {
  vmMouseButton_Left: 1,
  vmMouseButton_Right: 2,
  vmMouseButton_Center: 3,
};

/** `VMRCAuthenticationType` of the original. */
export const VMRCAuthenticationType: {
  readonly vmVMRCAuthentication_Invalid: 0;
  readonly vmVMRCAuthentication_VNC: 0;
  readonly vmVMRCAuthentication_SRP: 1;
  readonly vmVMRCAuthentication_NTLM: 2;
  readonly vmVMRCAuthentication_Kerberos: 3;
  readonly vmVMRCAuthentication_Automatic: 4;
} = {
  vmVMRCAuthentication_Invalid: 0,
  vmVMRCAuthentication_VNC: 0,
  vmVMRCAuthentication_SRP: 1,
  vmVMRCAuthentication_NTLM: 2,
  vmVMRCAuthentication_Kerberos: 3,
  vmVMRCAuthentication_Automatic: 4,
};

/** `VMRCClientEvents` of the original. */
export const VMRCClientEvents: {
  readonly vmrcClientEvent_OnSwitchedDisplay: 1;
  readonly vmrcClientEvent_OnStateChanged: 2;
} = {
  vmrcClientEvent_OnSwitchedDisplay: 1,
  vmrcClientEvent_OnStateChanged: 2,
};

/** `VMRCState` of the original. */
export const VMRCState: {
  readonly vmrcState_NotConnected: 0;
  readonly vmrcState_Connecting: 1;
  readonly vmrcState_Authenticating: 2;
  readonly vmrcState_Connected: 3;
  readonly vmrcState_ConnectionFailed: 4;
} = {
  vmrcState_NotConnected: 0,
  vmrcState_Connecting: 1,
  vmrcState_Authenticating: 2,
  vmrcState_Connected: 3,
  vmrcState_ConnectionFailed: 4,
};

/** `VMSerialPortType` of the original. */
export const VMSerialPortType: {
  readonly vmSerialPort_HostPort: 0;
  readonly vmSerialPort_TextFile: 1;
  readonly vmSerialPort_NamedPipe: 2;
  readonly vmSerialPort_Null: 3;
} = {
  vmSerialPort_HostPort: 0,
  vmSerialPort_TextFile: 1,
  vmSerialPort_NamedPipe: 2,
  vmSerialPort_Null: 3,
};

/** `VMShutdownAction` of the original. */
export const VMShutdownAction: {
  readonly vmShutdownAction_Save: 0;
  readonly vmShutdownAction_TurnOff: 1;
  readonly vmShutdownAction_Shutdown: 2;
} = {
  vmShutdownAction_Save: 0,
  vmShutdownAction_TurnOff: 1,
  vmShutdownAction_Shutdown: 2,
};

/** `VMSupportDriverType` of the original. */
export const VMSupportDriverType: {
  readonly vmSupportDriver_InvalidType: 0;
  readonly vmSupportDriver_VirtualMachineMonitor: 0;
  readonly vmSupportDriver_NetworkServices: 1;
} = {
  vmSupportDriver_InvalidType: 0,
  vmSupportDriver_VirtualMachineMonitor: 0,
  vmSupportDriver_NetworkServices: 1,
};

/** `VMTaskResult` of the original. */
export const VMTaskResult: {
  readonly vmTaskResult_Success: 0;
  readonly vmTaskResult_Cancelled: 1;
  readonly vmTaskResult_UnexpectedError: 2;
  readonly vmTaskResult_OutOfMemoryError: 3;
  readonly vmTaskResult_DiskRelatedError: 4;
  readonly vmTaskResult_IncompatibleSavedStateError: 5;
  readonly vmTaskResult_TimeOutError: 6;
  readonly vmTaskResult_IllegalValueError: 7;
  readonly vmTaskResult_ThreadCrashError: 8;
} = {
  vmTaskResult_Success: 0,
  vmTaskResult_Cancelled: 1,
  vmTaskResult_UnexpectedError: 2,
  vmTaskResult_OutOfMemoryError: 3,
  vmTaskResult_DiskRelatedError: 4,
  vmTaskResult_IncompatibleSavedStateError: 5,
  vmTaskResult_TimeOutError: 6,
  vmTaskResult_IllegalValueError: 7,
  vmTaskResult_ThreadCrashError: 8,
};

/** `VMUndoAction` of the original. */
export const VMUndoAction: {
  readonly vmUndoAction_Discard: 0;
  readonly vmUndoAction_Keep: 1;
  readonly vmUndoAction_Commit: 2;
} = {
  vmUndoAction_Discard: 0,
  vmUndoAction_Keep: 1,
  vmUndoAction_Commit: 2,
};

/** `VMVirtualMachineEvents` of the original. */
export const VMVirtualMachineEvents: {
  readonly vmVirtualMachineEvent_StateChanged: 1;
  readonly vmVirtualMachineEvent_RequestShutdown: 2;
  readonly vmVirtualMachineEvent_Reset: 3;
  readonly vmVirtualMachineEvent_TripleFault: 4;
  readonly vmVirtualMachineEvent_HeartbeatStopped: 5;
  readonly vmVirtualMachineEvent_ConfigurationChanged: 6;
} = {
  vmVirtualMachineEvent_StateChanged: 1,
  vmVirtualMachineEvent_RequestShutdown: 2,
  vmVirtualMachineEvent_Reset: 3,
  vmVirtualMachineEvent_TripleFault: 4,
  vmVirtualMachineEvent_HeartbeatStopped: 5,
  vmVirtualMachineEvent_ConfigurationChanged: 6,
};

/** `VMVirtualServerEvent` of the original. */
export const VMVirtualServerEvent: {
  readonly vmVirtualServerEvent_ServiceEvent: 1;
  readonly vmVirtualServerEvent_VMStateChange: 2;
  readonly vmVirtualServerEvent_EventLogged: 3;
  readonly vmVirtualServerEvent_VMHeartbeatStopped: 4;
} = {
  vmVirtualServerEvent_ServiceEvent: 1,
  vmVirtualServerEvent_VMStateChange: 2,
  vmVirtualServerEvent_EventLogged: 3,
  vmVirtualServerEvent_VMHeartbeatStopped: 4,
};

/** `VMVMState` of the original. */
export const VMVMState: {
  readonly vmVMState_Invalid: 0;
  readonly vmVMState_TurnedOff: 1;
  readonly vmVMState_Saved: 2;
  readonly vmVMState_TurningOn: 3;
  readonly vmVMState_Restoring: 4;
  readonly vmVMState_Running: 5;
  readonly vmVMState_Paused: 6;
  readonly vmVMState_Saving: 7;
  readonly vmVMState_TurningOff: 8;
  readonly vmVMState_MergingDrives: 9;
  readonly vmVMState_DeleteMachine: 10;
} = {
  vmVMState_Invalid: 0,
  vmVMState_TurnedOff: 1,
  vmVMState_Saved: 2,
  vmVMState_TurningOn: 3,
  vmVMState_Restoring: 4,
  vmVMState_Running: 5,
  vmVMState_Paused: 6,
  vmVMState_Saving: 7,
  vmVMState_TurningOff: 8,
  vmVMState_MergingDrives: 9,
  vmVMState_DeleteMachine: 10,
};
