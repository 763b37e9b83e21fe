#include "agent/win/win_load.h"

#include <windows.h>
// After it.
#include <winioctl.h>

#include <algorithm>

#include "agent/win/base/handle.h"
#include "agent/win/base/windows_error.h"

namespace roamstead::agent {
namespace {

std::uint64_t number_of(const FILETIME& time) {
  return (static_cast<std::uint64_t>(time.dwHighDateTime) << 32) | time.dwLowDateTime;
}

struct DiskTimes {  // in 100 ns
  std::uint64_t idle = 0, asked = 0;
};

class WinLoad final : public LoadPort {
 public:
  explicit WinLoad(std::string drive) : drive_(std::move(drive)) {}

  Result<SystemLoad> read() override {
    SystemLoad load;
    FILETIME idle{}, kernel{}, user{}, began{}, ended{}, own_kernel{}, own_user{};
    if (::GetSystemTimes(&idle, &kernel, &user) == 0)
      return win::windows_error("how busy the processors are");
    if (::GetProcessTimes(::GetCurrentProcess(), &began, &ended, &own_kernel, &own_user) == 0)
      return win::windows_error("how busy this process is");
    const auto all = number_of(kernel) + number_of(user);  // the kernel's has what was idle
    const auto busy = all - std::min(all, number_of(idle));
    const auto own = number_of(own_kernel) + number_of(own_user);
    if (all_ != 0 && all > all_) {
      const auto working = static_cast<double>(busy) - static_cast<double>(busy_);
      const auto ours = static_cast<double>(own - std::min(own, own_));
      load.processor = std::clamp((working - ours) / static_cast<double>(all - all_), 0.0, 1.0);
    }
    all_ = all;
    busy_ = busy;
    own_ = own;
    const auto disk = disk_times();
    if (disk && disk_ && disk->asked > disk_->asked) {
      const auto quiet = static_cast<double>(disk->idle) - static_cast<double>(disk_->idle);
      load.disk = std::clamp(1 - quiet / static_cast<double>(disk->asked - disk_->asked), 0.0, 1.0);
    }
    disk_ = disk;
    SYSTEM_POWER_STATUS power{};
    // The byte after the battery's share: 1 while the battery saver is on, since Windows 10.
    if (::GetSystemPowerStatus(&power) != 0) load.saves_battery = power.Reserved1 == 1;
    return load;
  }

 private:
  // Nothing where Windows counts nothing for this volume, as under Wine.
  std::optional<DiskTimes> disk_times() const {
    const auto name = win::wide_text("\\\\.\\" + drive_);
    if (!name) return std::nullopt;
    const win::Handle volume(::CreateFileW(name->c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                           OPEN_EXISTING, 0, nullptr));
    DISK_PERFORMANCE counters{};
    DWORD bytes = 0;
    if (!volume || ::DeviceIoControl(volume.get(), IOCTL_DISK_PERFORMANCE, nullptr, 0, &counters,
                                     sizeof counters, &bytes, nullptr) == 0)
      return std::nullopt;
    return DiskTimes{static_cast<std::uint64_t>(counters.IdleTime.QuadPart),
                     static_cast<std::uint64_t>(counters.QueryTime.QuadPart)};
  }

  const std::string drive_;
  std::uint64_t all_ = 0, busy_ = 0, own_ = 0;
  std::optional<DiskTimes> disk_;
};

}  // namespace

std::unique_ptr<LoadPort> make_win_load(const std::string& drive) { return std::make_unique<WinLoad>(drive); }

}  // namespace roamstead::agent
