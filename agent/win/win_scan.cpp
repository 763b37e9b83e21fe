// A WinVolume as a scan reads it.
#include "agent/win/base/native_file.h"
#include "agent/win/base/wine.h"
#include "agent/win/win_handle.h"
#include "agent/win/win_volume.h"
#include "common/profile/path.h"

namespace roamstead::agent {
namespace {

// What lies below a folder that a program replaced by a link is not there any more.
template <class T>
Result<T> or_gone(Result<T> result) {
  if (result || result.error().code != ErrorCode::unsupported) return result;
  return fail(ErrorCode::not_found, result.error().message);
}

}  // namespace

std::optional<std::set<std::uint64_t>> WinVolume::changed_folders() {
  if (win::under_wine()) return std::nullopt;  // it has no such journal
  const std::lock_guard lock(mutex_);
  if (!journal_) journal_ = std::make_unique<UsnJournal>(options_.drive);
  return journal_->changed_folders();
}

Result<std::vector<ScannedItem>> WinVolume::list_to_scan(const std::string& path) {
  RS_TRY(const auto directory, or_gone(open_directory(path, false)));
  win::OpenOptions wanted;
  wanted.access = FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES;
  wanted.options = FILE_DIRECTORY_FILE;
  // Opened again: an open directory remembers how far it was read.
  RS_TRY_CTX(const auto own, path, win::open_in(directory->get(), L"", wanted));
  return scan_->list(own.get(), path);
}

Result<ScannedItem> WinVolume::look(const std::string& path) {
  RS_TRY(const auto place, or_gone(find_place(path)));
  return scan_->look(place.directory->get(), place.name);
}

Result<ItemDetails> WinVolume::details(const std::string& path) {
  RS_TRY(const auto place, or_gone(find_place(path)));
  return scan_->details(place.directory->get(), place.name);
}

Result<std::unique_ptr<VolumeHandle>> WinVolume::open_to_read(const std::string& path,
                                                              const std::string& stream) {
  RS_TRY(const auto place, or_gone(find_place(path)));
  RS_TRY_CTX(const auto before, path, scan_->look(place.directory->get(), place.name));
  win::OpenOptions wanted;
  RS_TRY_CTX(auto item, path, win::open_in(place.directory->get(), place.name, wanted));
  RS_TRY(const bool link, items_->is_link(place.directory->get(), place.name, item.get()));
  if (link || before.directory) return fail(ErrorCode::not_found, path + " is another item by now");
  auto name = place.name;
  if (!stream.empty()) {
    RS_CHECK_CTX(path, profile::check_name(stream));
    RS_TRY(const auto wide, win::wide_text(stream));
    name += L":" + wide;
  }
  wanted.access = FILE_READ_DATA | FILE_READ_ATTRIBUTES;
  wanted.options = FILE_NON_DIRECTORY_FILE;
  RS_TRY_CTX(auto content, path, win::open_in(place.directory->get(), name, wanted));
  RS_TRY_CTX(const auto after, path, scan_->look(place.directory->get(), place.name));
  if (after.record != before.record || after.sequence != before.sequence)
    return fail(ErrorCode::not_found, path + " was replaced while it was opened");
  return std::unique_ptr<VolumeHandle>(
      std::make_unique<WinHandle>(std::move(content), std::move(item), stream, before.record, *items_));
}

}  // namespace roamstead::agent
