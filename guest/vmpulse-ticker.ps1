<#
.SYNOPSIS
  The heartbeat of this Windows machine, told to the host over a virtio-serial port (vmpulse).
.DESCRIPTION
  NOT TESTED by the project on a Windows machine: written from the documented behaviour of the virtio-win
  driver, which offers a port under its name as \\.\Global\NAME. The protocol is that of vmpulse-ticker:
    hello v=1 version=1.0.0 interval_ms=1000 os=... host=...
    tick <seq> <uptime_ms>
    bye shutdown|reboot|stop
  README.md beside this file says how to install it as a scheduled task.
.PARAMETER IntervalMs
  Time between two ticks, 100 to 60000.
.PARAMETER Port
  The device to write to.
.EXAMPLE
  powershell.exe -NoProfile -ExecutionPolicy Bypass -File vmpulse-ticker.ps1 -IntervalMs 500
#>
param(
  [ValidateRange(100, 60000)] [int] $IntervalMs = 1000,
  [string] $Port = '\\.\Global\org.vmpulse.heartbeat.0'
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$maxBackoffMs = 15000

# FileStream refuses \\.\ paths in Windows PowerShell, so the handle comes from Windows itself.
Add-Type -Namespace Vmpulse -Name Native -MemberDefinition @'
[System.Runtime.InteropServices.DllImport("kernel32.dll", SetLastError = true,
  CharSet = System.Runtime.InteropServices.CharSet.Unicode)]
public static extern Microsoft.Win32.SafeHandles.SafeFileHandle CreateFile(string name, uint access,
  uint share, System.IntPtr security, uint disposition, uint flags, System.IntPtr template);
[System.Runtime.InteropServices.DllImport("kernel32.dll")]
public static extern ulong GetTickCount64();
'@

# Percent-encoded and cut to at most $Max characters, never within an escape.
function ConvertTo-Encoded([string] $Text, [int] $Max) {
  $out = New-Object System.Text.StringBuilder
  foreach ($byte in [System.Text.Encoding]::UTF8.GetBytes($Text)) {
    $char = [char] $byte
    $piece = if ($byte -lt 128 -and "$char" -cmatch '^[A-Za-z0-9._~-]$') { "$char" } else { '%{0:X2}' -f $byte }
    if ($out.Length + $piece.Length -gt $Max) { break }
    [void] $out.Append($piece)
  }
  $out.ToString()
}

function Open-Port {
  $genericReadWrite = [uint32] 3221225472
  $openExisting = [uint32] 3
  $handle = [Vmpulse.Native]::CreateFile($Port, $genericReadWrite, 0, [IntPtr]::Zero, $openExisting, 0,
    [IntPtr]::Zero)
  if ($handle.IsInvalid) {
    throw "cannot open $Port (error $([Runtime.InteropServices.Marshal]::GetLastWin32Error())); " +
      'is the virtio-serial driver installed, and is it the only program with the port open?'
  }
  New-Object System.IO.FileStream($handle, [System.IO.FileAccess]::ReadWrite, 1, $false)
}

function Write-Line($Stream, [string] $Line) {
  $bytes = [System.Text.Encoding]::ASCII.GetBytes($Line + "`n")
  $Stream.Write($bytes, 0, $bytes.Length)
  $Stream.Flush()
}

function Get-UptimeMs { [long] [Vmpulse.Native]::GetTickCount64() }

$os = try { (Get-CimInstance Win32_OperatingSystem).Caption } catch { [Environment]::OSVersion.VersionString }
$hello = "hello v=1 version=1.0.0 interval_ms=$IntervalMs os=$(ConvertTo-Encoded $os.Trim() 160)" +
  " host=$(ConvertTo-Encoded $env:COMPUTERNAME 256)"
[System.Diagnostics.Process]::GetCurrentProcess().PriorityClass = 'RealTime'

$backoffMs = 250
while ($true) {
  $stream = $null
  try {
    $stream = Open-Port
    Write-Line $stream $hello
    [long] $seq = 0
    [long] $due = Get-UptimeMs
    while ($true) {
      $now = Get-UptimeMs
      Write-Line $stream "tick $seq $now"
      $seq++
      $backoffMs = 250
      # Ticks are due at fixed distances from the first; what was missed is not made up for.
      $due += $IntervalMs
      $now = Get-UptimeMs
      if ($due -le $now) { $due = $now - ($now - $due) % $IntervalMs + $IntervalMs }
      Start-Sleep -Milliseconds ([int] ($due - $now))
    }
  } catch {
    [Console]::Error.WriteLine("vmpulse-ticker: $($_.Exception.Message)")
  } finally {
    # Reached too when the task is stopped with Ctrl+C; Windows ends a task at shutdown without asking.
    if ($stream) {
      try { Write-Line $stream 'bye stop' } catch { }
      $stream.Dispose()
    }
  }
  Start-Sleep -Milliseconds $backoffMs
  $backoffMs = [Math]::Min($backoffMs * 2, $maxBackoffMs)
}
