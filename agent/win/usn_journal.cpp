#include "agent/win/usn_journal.h"

#include <winioctl.h>

#include "agent/win/base/windows_error.h"

namespace roamstead::agent {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;
constexpr std::uint64_t kMostBytes = 64 << 20;  // of a single call: beyond that everything may be looked at
constexpr std::size_t kMostFolders = 100'000;
constexpr std::uint64_t kRecordMask = 0xFFFF'FFFF'FFFF;
// USN_RECORD_V2.
constexpr std::size_t kLength = 0, kVersion = 4, kFolder = 16, kFixedBytes = 60;

// Version 0 of both, whatever else later headers call by these names.
static_assert(sizeof(USN_JOURNAL_DATA) == 56 && sizeof(READ_USN_JOURNAL_DATA) == 40);

}  // namespace

bool add_folders(ByteView answer, std::int64_t& next, std::set<std::uint64_t>& folders) {
  if (answer.size() < sizeof(std::int64_t)) return false;
  next = static_cast<std::int64_t>(load_le<std::uint64_t>(answer, 0));
  for (std::size_t at = sizeof(std::int64_t); at < answer.size();) {
    const auto left = answer.subspan(at);
    if (left.size() < kFixedBytes) return false;
    const auto length = load_le<std::uint32_t>(left, kLength);
    if (length < kFixedBytes || length > left.size() || length % 8 != 0) return false;
    if (load_le<std::uint16_t>(left, kVersion) != 2) return false;
    folders.insert(load_le<std::uint64_t>(left, kFolder) & kRecordMask);
    at += length;
  }
  return true;
}

bool UsnJournal::begin() {
  begun_ = false;
  if (!volume_) {
    const auto name = win::wide_text("\\\\.\\" + drive_);
    if (name)
      volume_ = win::Handle(::CreateFileW(name->c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                          nullptr, OPEN_EXISTING, 0, nullptr));
    if (!volume_) return false;
  }
  USN_JOURNAL_DATA journal{};
  DWORD count = 0;
  if (::DeviceIoControl(volume_.get(), FSCTL_QUERY_USN_JOURNAL, nullptr, 0, &journal, sizeof journal, &count,
                        nullptr) == 0 ||
      count < sizeof journal)
    return false;
  journal_ = journal.UsnJournalID;
  next_ = journal.NextUsn;
  begun_ = true;
  return true;
}

std::optional<std::set<std::uint64_t>> UsnJournal::changed_folders() {
  std::set<std::uint64_t> folders;
  if (begun_ && read(folders)) return folders;
  begin();
  return std::nullopt;
}

bool UsnJournal::read(std::set<std::uint64_t>& folders) {
  std::vector<std::uint64_t> buffer(kBufferBytes / sizeof(std::uint64_t));  // aligned as the records are
  for (std::uint64_t bytes = 0; bytes < kMostBytes && folders.size() <= kMostFolders;) {
    READ_USN_JOURNAL_DATA wanted{};
    wanted.StartUsn = next_;
    wanted.ReasonMask = 0xFFFF'FFFF;
    wanted.UsnJournalID = journal_;
    DWORD count = 0;
    // Fails where the journal is another one by now, or what is wanted was deleted from it.
    if (::DeviceIoControl(volume_.get(), FSCTL_READ_USN_JOURNAL, &wanted, sizeof wanted, buffer.data(),
                          kBufferBytes, &count, nullptr) == 0)
      return false;
    const auto answer = std::as_bytes(std::span(buffer)).first(std::min<std::size_t>(count, kBufferBytes));
    if (!add_folders(answer, next_, folders)) return false;
    if (count <= sizeof(std::int64_t)) return true;  // no more
    bytes += count;
  }
  return false;
}

}  // namespace roamstead::agent
