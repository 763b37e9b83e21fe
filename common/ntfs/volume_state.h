// The state in which a volume was left: can what is on it be believed as it stands, and may it be written?
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/vdisk/block_device.h"

namespace roamstead::ntfs {

enum class VolumeKind { ntfs, bitlocker, refs, exfat, fat, other };
std::string_view to_string(VolumeKind kind);

// $LogFile by its newest restart page.
enum class LogState {
  clean,    // closed by whoever used it last; nothing to replay
  in_use,   // not closed: what it holds is not all on the volume
  emptied,  // no restart page, all 0xFF: reset by a repair or by ntfs-3g, nothing to replay
  checked,  // reset by chkdsk
  damaged   // neither
};
std::string_view to_string(LogState state);

enum class Hibernation {
  none,        // no hiberfil.sys, or an empty one
  hibernated,  // Windows sleeps on this volume (also by fast startup): it will go on with what it has in
               // memory
  resumed      // the file is left over from a sleep that is over
};
std::string_view to_string(Hibernation state);

struct VolumeState {
  VolumeKind kind = VolumeKind::other;
  // The rest is of NTFS volumes.
  std::string label;
  unsigned major_version = 0;
  unsigned minor_version = 0;
  bool dirty = false;              // chkdsk is due
  std::uint16_t volume_flags = 0;  // of $VOLUME_INFORMATION
  LogState log = LogState::damaged;
  // 1.1 after a clean dismount; 2.x while Windows 8 or newer has the volume, and after fast startup's
  // "shutdown".
  std::string log_version;
  Hibernation hibernation = Hibernation::none;
  bool fast_startup = false;  // log of version 2: Windows keeps metadata in its hibernation file or in memory
  std::vector<std::string> remarks;  // what is not as it should be, and what to do; empty: a clean volume

  bool clean() const { return kind == VolumeKind::ntfs && remarks.empty(); }
};

// Never writes. ErrorCode::corrupt when the volume is NTFS but too damaged to tell.
Result<VolumeState> volume_state(const vdisk::BlockDevice& device);

}  // namespace roamstead::ntfs
