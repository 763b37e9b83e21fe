#include "agent/win/attribute_watch.h"

#include <vector>

#include "agent/win/base/windows_error.h"
#include "common/base/thread_stack.h"

namespace roamstead::agent {

namespace {
constexpr DWORD kWatchBufferBytes = 64 << 10;
constexpr DWORD kWatchShared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
}  // namespace

Result<std::unique_ptr<AttributeWatch>> AttributeWatch::start(const std::wstring& folder, Changed changed) {
  std::unique_ptr<AttributeWatch> watch(new AttributeWatch());
  watch->path_ = folder;
  watch->changed_ = std::move(changed);
  watch->folder_ =
      win::Handle(::CreateFileW(folder.c_str(), FILE_LIST_DIRECTORY, kWatchShared, nullptr, OPEN_EXISTING,
                                FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OVERLAPPED, nullptr));
  if (!watch->folder_) return win::windows_error("watching a folder");
  watch->happened_ = win::Handle(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
  watch->stop_ = win::Handle(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
  if (!watch->happened_ || !watch->stop_) return win::windows_error("making an event");
  watch->thread_ = std::thread([raw = watch.get()] {
    release_unused_stack();
    raw->run();
  });
  return watch;
}

AttributeWatch::~AttributeWatch() {
  if (!thread_.joinable()) return;
  ::SetEvent(stop_.get());
  thread_.join();
}

void AttributeWatch::run() {
  std::vector<DWORD> buffer(kWatchBufferBytes / sizeof(DWORD));  // aligned as the records in it are
  for (;;) {
    OVERLAPPED overlapped{};
    overlapped.hEvent = happened_.get();
    if (::ReadDirectoryChangesW(folder_.get(), buffer.data(), kWatchBufferBytes, TRUE,
                                FILE_NOTIFY_CHANGE_ATTRIBUTES, nullptr, &overlapped, nullptr) == 0)
      return;
    const HANDLE both[] = {stop_.get(), happened_.get()};
    const bool stopping = ::WaitForMultipleObjects(2, both, FALSE, INFINITE) == WAIT_OBJECT_0;
    if (stopping) ::CancelIoEx(folder_.get(), &overlapped);
    DWORD bytes = 0;
    const bool read = ::GetOverlappedResult(folder_.get(), &overlapped, &bytes, TRUE) != 0;
    if (stopping || !read) return;
    const auto* at = reinterpret_cast<const std::byte*>(buffer.data());
    for (auto left = bytes; left >= offsetof(FILE_NOTIFY_INFORMATION, FileName);) {
      const auto& change = *reinterpret_cast<const FILE_NOTIFY_INFORMATION*>(at);
      if (change.Action == FILE_ACTION_MODIFIED)
        report(std::wstring(change.FileName, change.FileNameLength / sizeof(wchar_t)));
      if (change.NextEntryOffset == 0 || change.NextEntryOffset > left) break;
      at += change.NextEntryOffset;
      left -= change.NextEntryOffset;
    }
  }
}

void AttributeWatch::report(const std::wstring& name) const {
  const win::Handle file(::CreateFileW((path_ + L"\\" + name).c_str(), FILE_READ_ATTRIBUTES, kWatchShared,
                                       nullptr, OPEN_EXISTING,
                                       FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, nullptr));
  BY_HANDLE_FILE_INFORMATION info{};
  if (!file || ::GetFileInformationByHandle(file.get(), &info) == 0) return;  // it is gone
  if ((info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) return;
  changed_(name, FileNumber{info.nFileIndexHigh} << 32 | info.nFileIndexLow);
}

}  // namespace roamstead::agent
