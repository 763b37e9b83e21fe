// Cmdlets of Windows' Storage module (Get-Disk, Set-Disk, Initialize-Disk, New-Partition, Format-Volume,
// Set-Partition) and the classes Win32_Volume and SoftwareLicensingProduct, as Microsoft documents them.
#include "agent/firstboot/command.h"

namespace roamstead::firstboot {
namespace {

// A text between single quotes, where nothing but the quote itself means anything.
std::string text(const std::string& value) {
  std::string out = "'";
  for (const char c : value) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

// Every script begins so: an error ends it, and is told in one line.
constexpr const char* kBegin =
    "$ErrorActionPreference = 'Stop'\n"
    "$ProgressPreference = 'SilentlyContinue'\n"
    "trap { Write-Output $_.Exception.Message; exit 1 }\n";

// A CD drive that has the letter gets the last free one.
constexpr const char* kFreeLetter =
    "$taken = Get-CimInstance Win32_Volume -Filter \"DriveLetter = '${letter}:' AND DriveType = 5\"\n"
    "if ($taken) {\n"
    "  $used = (Get-CimInstance Win32_Volume).DriveLetter\n"
    "  $free = 'Z','Y','X','W','V','U','T','S','R' | Where-Object { \"${_}:\" -notin $used } | Select-Object "
    "-First 1\n"
    "  $taken | Set-CimInstance -Property @{ DriveLetter = \"${free}:\" }\n"
    "}\n";

std::string assign_drive_letter(const Step& step) {
  return std::string(kBegin) + "$letter = " + text(std::string(1, step.letter)) +
         "\n$label = " + text(step.label) +
         "\n"
         "$volumes = @(Get-Volume | Where-Object { $_.FileSystemLabel -eq $label -and $_.DriveType -eq "
         "'Fixed' })\n"
         "if ($volumes.Count -ne 1) { throw \"$($volumes.Count) volumes are labelled '$label'\" }\n"
         "if ($volumes[0].DriveLetter -eq $letter) { exit 0 }\n" +
         kFreeLetter + "Get-Partition -Volume $volumes[0] | Set-Partition -NewDriveLetter $letter\nexit 0\n";
}

std::string format_data_disk(const Step& step) {
  return std::string(kBegin) + "$letter = " + text(std::string(1, step.letter)) +
         "\n$label = " + text(step.label) + "\n$bytes = " + std::to_string(step.disk_bytes) +
         "\n$style = " + (step.mbr ? "'MBR'" : "'GPT'") +
         "\n"
         "function Get-Systems($disk) {\n"
         "  $disk | Get-Partition -ErrorAction SilentlyContinue | Get-Volume -ErrorAction SilentlyContinue "
         "|\n"
         "    Where-Object { $_.FileSystemType -ne 'Unknown' -and $_.FileSystem }\n"
         "}\n"
         "$disks = @(Get-Disk | Where-Object { $_.Size -eq $bytes -and -not $_.IsBoot -and -not $_.IsSystem "
         "})\n"
         // Where an earlier attempt was interrupted after its last step but one.
         "$done = @($disks | Where-Object { (Get-Systems $_ | Where-Object { $_.FileSystemLabel -eq $label "
         "-and "
         "$_.DriveLetter -eq $letter }) })\n"
         "if ($done.Count -eq 1) { exit 0 }\n"
         "$empty = @($disks | Where-Object { $_.PartitionStyle -eq 'RAW' -or -not (Get-Systems $_) })\n"
         "if ($empty.Count -ne 1) { throw \"$($empty.Count) disks of $bytes bytes hold no file system\" }\n"
         "$number = $empty[0].Number\n"
         "if ($empty[0].IsOffline) { Set-Disk -Number $number -IsOffline $false }\n"
         "if ($empty[0].IsReadOnly) { Set-Disk -Number $number -IsReadOnly $false }\n"
         "if ($empty[0].PartitionStyle -eq 'RAW') { Initialize-Disk -Number $number -PartitionStyle $style "
         "}\n" +
         kFreeLetter +
         "$partition = Get-Partition -DiskNumber $number -ErrorAction SilentlyContinue |\n"
         "  Where-Object { $_.Type -in 'Basic', 'IFS' } | Select-Object -First 1\n"
         "if (-not $partition) { $partition = New-Partition -DiskNumber $number -UseMaximumSize }\n"
         "$partition | Format-Volume -FileSystem NTFS -NewFileSystemLabel $label -Confirm:$false | Out-Null\n"
         "$partition | Set-Partition -NewDriveLetter $letter\n"
         "exit 0\n";
}

// Products of Windows itself have this application id; one of them has a key.
std::string activate() {
  return std::string(kBegin) +
         "$windows = \"ApplicationID = '55c92734-d682-4d71-983e-d6ec3f16059f' AND PartialProductKey IS NOT "
         "NULL\"\n"
         "$product = Get-CimInstance SoftwareLicensingProduct -Filter $windows | Select-Object -First 1\n"
         "if (-not $product) { throw 'this Windows has no product key' }\n"
         "if ($product.LicenseStatus -eq 1) { exit 0 }\n"
         "$product | Invoke-CimMethod -MethodName Activate | Out-Null\n"
         "Get-CimInstance SoftwareLicensingService | Invoke-CimMethod -MethodName RefreshLicenseStatus | "
         "Out-Null\n"
         "$status = (Get-CimInstance SoftwareLicensingProduct -Filter $windows | Select-Object -First 1)."
         "LicenseStatus\n"
         "if ($status -ne 1) { throw \"not activated: license status $status\" }\n"
         "exit 0\n";
}

}  // namespace

std::string built_in_script(const Step& step) {
  switch (step.kind) {
    case StepKind::format_data_disk:
      return format_data_disk(step);
    case StepKind::assign_drive_letter:
      return assign_drive_letter(step);
    case StepKind::activate:
      return activate();
    case StepKind::script:
    case StepKind::unknown:
      break;
  }
  return "exit 1\n";
}

}  // namespace roamstead::firstboot
