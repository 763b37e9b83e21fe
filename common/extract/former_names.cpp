#include "common/extract/former_names.h"

#include <algorithm>

#include "common/base/log.h"
#include "common/ntfs/usn_journal.h"

namespace roamstead::extract {
namespace {

constexpr std::size_t kMostNames = 100'000;
constexpr std::size_t kMostNamesOfOne = 16;  // a program that renames one file in a loop

}  // namespace

void FormerNames::read() {
  const auto journal = ntfs::UsnJournal::open(now_);
  if (!journal) return;
  std::uint64_t from = 0;
  if (const auto old = ntfs::UsnJournal::open(before_); old && old->id() == journal->id())
    from = old->next_usn();
  std::size_t count = 0;
  const auto result = journal->read(from, [&](const ntfs::UsnRecord& record) {
    if ((record.reason & ntfs::kUsnRenameOldName) == 0) return true;
    auto& names = names_[record.file];
    if (names.size() == kMostNamesOfOne) {
      names.pop_back();
      --count;
    }
    names.insert(names.begin(), {record.parent, record.name});
    return ++count < kMostNames;
  });
  if (!result) log_info("the volume's change journal is of no help: {}", result.error().to_string());
}

const std::vector<FormerName>& FormerNames::of(const ntfs::FileReference& file) {
  if (!read_) read();
  read_ = true;
  static const std::vector<FormerName> kNone;
  const auto found = names_.find(file);
  return found == names_.end() ? kNone : found->second;
}

}  // namespace roamstead::extract
