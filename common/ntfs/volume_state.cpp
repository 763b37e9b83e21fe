#include "common/ntfs/volume_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "common/ntfs/boot_sector.h"
#include "common/ntfs/record.h"
#include "common/ntfs/wof.h"

namespace roamstead::ntfs {
namespace {

constexpr std::uint64_t kLogRecord = 2;
constexpr std::size_t kPageBytes = 4096;  // of the log, in practice always; pages up to 64 KiB are read
constexpr std::size_t kMaxPageBytes = 64u << 10;
constexpr std::uint16_t kNoClient = 0xFFFF;
constexpr std::uint16_t kVolumeIsClean = 2;

struct RestartPage {
  std::uint64_t lsn = 0;
  std::uint16_t major = 0;
  std::uint16_t minor = 0;
  bool clean = false;
  bool by_chkdsk = false;
  std::size_t page_bytes = 0;
};

// A restart page: header (page sizes, place of the restart area, version), update sequence, restart area
// (LSN, clients, flags).
Result<RestartPage> parse_restart_page(const Volume& volume, const StreamInfo& log, std::uint64_t offset) {
  if (log.size_bytes < kPageBytes || offset > log.size_bytes - kPageBytes)
    return fail(ErrorCode::corrupt, fmt::format("no page at byte {}", offset));
  Bytes page(kPageBytes);
  RS_CHECK(volume.read(log, offset, page));
  const auto signature = std::string(as_text(ByteView(page).first(4)));
  if (signature != "RSTR" && signature != "CHKD")
    return fail(ErrorCode::corrupt, fmt::format("no restart page at byte {}", offset));
  RestartPage restart;
  restart.by_chkdsk = signature == "CHKD";
  restart.page_bytes = load_le<std::uint32_t>(page, 16);
  if (!std::has_single_bit(restart.page_bytes) || restart.page_bytes < 512 ||
      restart.page_bytes > kMaxPageBytes || restart.page_bytes > log.size_bytes - offset)
    return fail(ErrorCode::corrupt, fmt::format("log pages of {} bytes", restart.page_bytes));
  page.resize(restart.page_bytes);
  RS_CHECK(volume.read(log, offset, page));
  RS_CHECK(apply_fixups(page));
  const std::size_t area = load_le<std::uint16_t>(page, 24);
  if (area < 30 || area + 24 > page.size())
    return fail(ErrorCode::corrupt, fmt::format("a restart area at byte {} of a page", area));
  restart.minor = load_le<std::uint16_t>(page, 26);
  restart.major = load_le<std::uint16_t>(page, 28);
  restart.lsn = load_le<std::uint64_t>(page, area);
  restart.clean = load_le<std::uint16_t>(page, area + 12) == kNoClient ||
                  (load_le<std::uint16_t>(page, area + 14) & kVolumeIsClean) != 0;
  return restart;
}

bool is_emptied(const Volume& volume, const StreamInfo& log) {
  Bytes start(static_cast<std::size_t>(std::min<std::uint64_t>(log.size_bytes, 4 * kPageBytes)));
  return !start.empty() && volume.read(log, 0, start) &&
         std::all_of(start.begin(), start.end(), [](std::byte byte) { return byte == std::byte{0xFF}; });
}

void read_log(const Volume& volume, VolumeState& state) {
  const auto file = volume.record(kLogRecord);
  const auto* log = file && !file->streams.empty() ? &file->streams.front() : nullptr;
  if (log == nullptr) return;
  if (is_emptied(volume, *log)) {
    state.log = LogState::emptied;
    return;
  }
  auto newest = parse_restart_page(volume, *log, 0);
  const auto second = parse_restart_page(volume, *log, newest ? newest->page_bytes : kPageBytes);
  if (second && (!newest || second->lsn > newest->lsn)) newest = second;
  if (!newest) return;
  state.log_version = fmt::format("{}.{}", newest->major, newest->minor);
  state.log = newest->clean ? LogState::clean : newest->by_chkdsk ? LogState::checked : LogState::in_use;
  state.fast_startup = newest->major >= 2;
}

void read_hibernation(const Volume& volume, VolumeState& state) {
  const auto reference = volume.lookup("hiberfil.sys");
  if (!reference) return;
  const auto file = volume.record(reference->record);
  if (!file) return;
  const auto content = FileContent::open(volume, *file);
  if (!content || content->size_bytes() < kPageBytes) return;
  Bytes header(kPageBytes);
  if (!content->read(0, header) || all_zero(header)) return;
  std::string signature(as_text(ByteView(header).first(4)));
  for (auto& letter : signature)
    if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 32);
  // HIBR: an image to go on from; RSTR: going on had begun. WAKE and anything else: over.
  state.hibernation =
      signature == "HIBR" || signature == "RSTR" ? Hibernation::hibernated : Hibernation::resumed;
}

void add_remarks(VolumeState& state) {
  auto& remarks = state.remarks;
  if (state.hibernation == Hibernation::hibernated)
    remarks.emplace_back(
        "Windows is hibernated on this volume: what it has in memory is newer than the volume. Start it and "
        "shut "
        "it down with `shutdown /s /f /t 0`, or turn hibernation off with `powercfg /h off`.");
  if (state.log == LogState::in_use)
    remarks.emplace_back(
        "$LogFile is in use: the last changes are in the log only and are not shown. Shut the desktop down "
        "cleanly "
        "or take the snapshot after a flush.");
  if (state.fast_startup && state.hibernation != Hibernation::hibernated && state.log != LogState::in_use)
    remarks.emplace_back(
        "$LogFile has version 2: Windows had the volume mounted when it went away or by fast startup keeps "
        "metadata "
        "in its hibernation file. Shut Windows down fully (`shutdown /s /f /t 0`).");
  if (state.log == LogState::damaged)
    remarks.emplace_back("$LogFile has no readable restart page. Let chkdsk look at the volume.");
  if (state.dirty) remarks.emplace_back("The volume is marked dirty. Let chkdsk look at it.");
}

VolumeKind kind_of(ByteView sector) {
  const auto name = as_text(sector.subspan(3, 8));
  // BitLocker To Go hides in a FAT boot sector; its mark is a GUID at byte 424.
  static constexpr std::uint8_t kToGo[] = {0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a,
                                           0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01};
  if (name == "NTFS    ") return VolumeKind::ntfs;
  if (name == "-FVE-FS-" || std::equal(std::begin(kToGo), std::end(kToGo), sector.begin() + 424,
                                       [](std::uint8_t a, std::byte b) { return std::byte{a} == b; }))
    return VolumeKind::bitlocker;
  if (name.substr(0, 4) == "ReFS") return VolumeKind::refs;
  if (name == "EXFAT   ") return VolumeKind::exfat;
  if (as_text(sector.subspan(54, 3)) == "FAT" || as_text(sector.subspan(82, 5)) == "FAT32")
    return VolumeKind::fat;
  return VolumeKind::other;
}

std::string kind_remark(VolumeKind kind) {
  switch (kind) {
    case VolumeKind::bitlocker:
      return "The volume is encrypted by BitLocker (-FVE-FS-). Decrypt it in Windows (`manage-bde -off "
             "DRIVE:`, wait "
             "for 0 %), or exclude it from encryption before the image is made; suspending protection is not "
             "enough.";
    case VolumeKind::refs:
      return "The volume is ReFS. Profiles are read from NTFS volumes only.";
    case VolumeKind::exfat:
    case VolumeKind::fat:
      return "The volume is FAT or exFAT. Profiles are read from NTFS volumes only.";
    default:
      return "No file system known here. Is it the right partition?";
  }
}

}  // namespace

std::string_view to_string(VolumeKind kind) {
  switch (kind) {
    case VolumeKind::ntfs:
      return "NTFS";
    case VolumeKind::bitlocker:
      return "BitLocker";
    case VolumeKind::refs:
      return "ReFS";
    case VolumeKind::exfat:
      return "exFAT";
    case VolumeKind::fat:
      return "FAT";
    case VolumeKind::other:
      break;
  }
  return "unknown";
}

std::string_view to_string(LogState state) {
  switch (state) {
    case LogState::clean:
      return "clean";
    case LogState::in_use:
      return "in use";
    case LogState::emptied:
      return "emptied";
    case LogState::checked:
      return "reset by chkdsk";
    case LogState::damaged:
      break;
  }
  return "damaged";
}

std::string_view to_string(Hibernation state) {
  switch (state) {
    case Hibernation::none:
      return "none";
    case Hibernation::hibernated:
      return "hibernated";
    case Hibernation::resumed:
      break;
  }
  return "resumed";
}

Result<VolumeState> volume_state(const vdisk::BlockDevice& device) {
  VolumeState state;
  if (device.size_bytes() < kBootSectorBytes)
    return fail(ErrorCode::corrupt,
                fmt::format("{}: {} bytes are no volume", device.name(), device.size_bytes()));
  Bytes sector(kBootSectorBytes);
  RS_CHECK(device.read(0, sector));
  state.kind = kind_of(sector);
  if (state.kind != VolumeKind::ntfs) {
    state.remarks.push_back(kind_remark(state.kind));
    return state;
  }
  RS_TRY(const auto volume, Volume::open(device));
  const auto& info = volume->info();
  state.label = info.label;
  state.major_version = info.major_version;
  state.minor_version = info.minor_version;
  state.dirty = info.dirty;
  state.volume_flags = info.flags;
  read_log(*volume, state);
  read_hibernation(*volume, state);
  add_remarks(state);
  return state;
}

}  // namespace roamstead::ntfs
