#include "agent/win/change_watch.h"

#include "agent/win/base/windows_error.h"
#include "common/base/log.h"
#include "common/base/thread_stack.h"

namespace roamstead::agent {

Result<std::unique_ptr<ChangeWatch>> ChangeWatch::start(const std::string& folder,
                                                        std::function<void()> note) {
  constexpr DWORD kAnything = FILE_NOTIFY_CHANGE_FILE_NAME | FILE_NOTIFY_CHANGE_DIR_NAME |
                              FILE_NOTIFY_CHANGE_ATTRIBUTES | FILE_NOTIFY_CHANGE_SIZE |
                              FILE_NOTIFY_CHANGE_LAST_WRITE | FILE_NOTIFY_CHANGE_SECURITY;
  RS_TRY(const auto path, win::wide_text(folder));
  std::unique_ptr<ChangeWatch> watch(new ChangeWatch());
  watch->note_ = std::move(note);
  watch->stopped_ = win::Handle(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
  if (!watch->stopped_) return win::windows_error("watch " + folder);
  const auto changes = ::FindFirstChangeNotificationW(path.c_str(), TRUE, kAnything);
  if (changes == INVALID_HANDLE_VALUE) return win::windows_error("watch " + folder);
  watch->thread_ = std::thread([raw = watch.get(), changes] {
    release_unused_stack();
    raw->run(changes);
  });
  return watch;
}

ChangeWatch::~ChangeWatch() {
  if (stopped_) ::SetEvent(stopped_.get());
  if (thread_.joinable()) thread_.join();
}

void ChangeWatch::run(HANDLE changes) const {
  constexpr DWORD kPause_ms = 1000;  // what changes meanwhile is remembered for us
  const HANDLE waited[] = {stopped_.get(), changes};
  while (::WaitForMultipleObjects(2, waited, FALSE, INFINITE) == WAIT_OBJECT_0 + 1) {
    note_();
    if (::FindNextChangeNotification(changes) == 0) {
      log_warning("changes of programs that carry no hook are no longer noticed: Windows error {}",
                  ::GetLastError());
      break;
    }
    if (::WaitForSingleObject(stopped_.get(), kPause_ms) == WAIT_OBJECT_0) break;
  }
  ::FindCloseChangeNotification(changes);
}

}  // namespace roamstead::agent
