#include "agent/win/intercept/profile_interception.h"

#include <algorithm>
#include <array>
#include <utility>

#include "agent/win/intercept/injection.h"
#include "common/base/log.h"

namespace roamstead::agent {

namespace {

constexpr std::uint32_t kFiles = 0, kUserKeys = 1, kUserClasses = 2;  // roots
constexpr auto kLook = std::chrono::seconds(2);
constexpr auto kMargin = std::chrono::seconds(5);  // programs wait longer than the loader does

std::u16string units_of(const std::wstring& text) {
  return {reinterpret_cast<const char16_t*>(text.data()), text.size()};
}

std::vector<StateMapPrefix> prefixes_of(const ProfileInterception::Config& config) {
  std::vector<StateMapPrefix> prefixes;
  for (auto& name : native_names(config.profile_folder))
    if (name.size() <= state_map::kMaxPrefixUnits) prefixes.push_back({kFiles, false, std::move(name)});
  const auto keys = units_of(win::widen("\\Registry\\User\\" + config.sid));
  prefixes.push_back({kUserKeys, true, keys});
  prefixes.push_back({kUserClasses, true, keys + u"_Classes"});
  return prefixes;
}

InterceptionConfig config_of(const ProfileInterception::Config& config, Session& session) {
  InterceptionConfig how;
  how.profile_root = config.profile_root;
  how.key_roots[kUserKeys] = {profile::hive_paths().front(), {}};
  how.key_roots[kUserClasses] = {profile::hive_paths().back(), {}};
  // A link on Windows; under Wine an ordinary key that stands for the same hive.
  if (const auto classes = profile::KeyPath::parse("Software\\Classes"))
    how.key_links.push_back({kUserKeys, *classes, kUserClasses});
  how.note_change = [&session] { session.note_change(); };
  how.note_key = [&session](const profile::ProfilePath& hive, const profile::KeyPath& key) {
    session.note_key(hive, key);
  };
  return how;
}

// Of this process's Windows; learnt once.
std::uint32_t known_load_library32() {
  static const std::uint32_t address = [] {
    std::array<wchar_t, 1024> own{};
    const auto units = ::GetModuleFileNameW(nullptr, own.data(), static_cast<DWORD>(own.size()));
    if (units == 0 || units >= own.size()) return 0u;
    const std::wstring path(own.data(), units);
    return load_library_of_32_bits(
        win::narrow(path.substr(0, path.rfind(L'\\') + 1) + L"roamstead-hook32.dll"));
  }();
  return address;
}

}  // namespace

std::vector<std::u16string> native_names(const std::string& folder) {
  const auto wide = win::widen(folder);  // "C:\Users\alice"
  const auto drive = wide.substr(0, 2), rest = wide.substr(std::min<std::size_t>(2, wide.size()));
  std::vector<std::u16string> names{units_of(L"\\??\\" + wide), units_of(L"\\GLOBAL??\\" + wide),
                                    units_of(L"\\DosDevices\\" + wide)};
  std::array<wchar_t, 512> text{};
  if (::QueryDosDeviceW(drive.c_str(), text.data(), static_cast<DWORD>(text.size())) != 0 && text[0] == L'\\')
    names.push_back(units_of(std::wstring(text.data()) + rest));  // "\Device\HarddiskVolume3"
  if (::GetVolumeNameForVolumeMountPointW((drive + L"\\").c_str(), text.data(),
                                          static_cast<DWORD>(text.size())) != 0) {
    std::wstring volume(text.data());  // "\\?\Volume{…}\"
    if (volume.size() > 5 && volume.back() == L'\\')
      names.push_back(units_of(L"\\??\\" + volume.substr(4, volume.size() - 5) + rest));
  }
  const auto units = ::GetShortPathNameW(wide.c_str(), text.data(), static_cast<DWORD>(text.size()));
  if (units != 0 && units < text.size() && wide != text.data())
    names.push_back(units_of(L"\\??\\" + std::wstring(text.data())));
  for (auto& name : names)
    while (!name.empty() && name.back() == u'\\') name.pop_back();
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<std::unique_ptr<ProfileInterception>> ProfileInterception::open(const Config& config,
                                                                       ProfileVolume& volume) {
  std::unique_ptr<ProfileInterception> made(new ProfileInterception(config, volume));
  made->map_ = std::make_shared<Map>(config.sid);
  RS_TRY(made->map_->writer,
         StateMapWriter::create(made->map_->sections, prefixes_of(config), ::GetCurrentProcessId(),
                                static_cast<std::uint32_t>((config.patience + kMargin).count())));
  made->volume_.announce_in(made->map_->writer.get());
  return made;
}

void ProfileInterception::begin(Session& session) {
  auto how = config_of(config_, session);
  how.keep = map_;  // connections may be closed later than this object goes
  auto interception =
      std::make_shared<Interception>(session.loader(), volume_, *map_->writer, std::move(how));
  {
    std::lock_guard lock(mutex_);
    interception_ = interception;
  }
  watcher_.start([this, &session, interception] { watch(session, interception); });
}

// Tells programs when everything is there, and asks for writers again after each snapshot.
void ProfileInterception::watch(Session& session, const std::shared_ptr<Interception>& interception) {
  map_->writer->set_load_library32(known_load_library32());  // starts a program: no log-on waits for it
  std::uint64_t snapshots = 0;
  while (watcher_.sleep(std::chrono::duration_cast<std::chrono::milliseconds>(kLook))) {
    const auto fill = session.fill().progress();
    if (fill.complete && fill.level == FillLevel::all) {
      map_->writer->set_complete(kFiles, true);
      if (session.registry().progress().keys_known == 0) {
        map_->writer->set_complete(kUserKeys, true);
        map_->writer->set_complete(kUserClasses, true);
      }
    }
    interception->set_read_only(session.loader().gate().refuses_programs());
    if (const auto taken = session.snapshots_taken(); std::exchange(snapshots, taken) != taken)
      interception->forget_writers();
  }
}

void ProfileInterception::end() {
  watcher_.stop();
  std::shared_ptr<Interception> interception;
  {
    std::lock_guard lock(mutex_);
    interception = std::move(interception_);
  }
  if (interception) interception->close();
  // Before: whoever waits is told to try again. From now on: nothing is intercepted, the user is gone.
  map_->writer->set_flag(state_map::kOff, true);
}

std::shared_ptr<Interception> ProfileInterception::interception() const {
  std::lock_guard lock(mutex_);
  return interception_;
}

}  // namespace roamstead::agent
