#include "tests/wine/hooked/live_keys.h"

#include "agent/win/intercept/windows_parts.h"

namespace roamstead::agent::testing {

namespace {

Error registry_error(LSTATUS status, const std::string& what) {
  return {ErrorCode::io, what + ": Windows error " + std::to_string(status)};
}

class Hive final : public MountedHive {
 public:
  Hive(ProfileVolume& volume, std::string path, const std::string& root)
      : volume_(volume), path_(std::move(path)), root_(root) {}
  ~Hive() override {
    for (const auto key : keys_) ::RegCloseKey(key);
  }

  Result<Key> root() override {
    HKEY key = nullptr;
    const auto status = ::RegCreateKeyExW(HKEY_CURRENT_USER, win::widen(root_).c_str(), 0, nullptr, 0,
                                          KEY_ALL_ACCESS, nullptr, &key, nullptr);
    if (status != ERROR_SUCCESS) return fail(registry_error(status, root_));
    return keep(key);
  }
  Result<std::optional<Key>> open(Key parent, const std::string& name) override {
    HKEY key = nullptr;
    const auto status = ::RegOpenKeyExW(keys_[parent], win::widen(name).c_str(), 0, KEY_ALL_ACCESS, &key);
    if (status == ERROR_FILE_NOT_FOUND) return std::optional<Key>();
    if (status != ERROR_SUCCESS) return fail(registry_error(status, name));
    return std::optional<Key>(keep(key));
  }
  Result<Key> create(Key parent, const std::string& name, const profile::KeyEntry&) override {
    HKEY key = nullptr;
    DWORD found = 0;
    const auto status = ::RegCreateKeyExW(keys_[parent], win::widen(name).c_str(), 0, nullptr, 0,
                                          KEY_ALL_ACCESS, nullptr, &key, &found);
    if (status != ERROR_SUCCESS) return fail(registry_error(status, name));
    const auto kept = keep(key);
    if (found != REG_CREATED_NEW_KEY) return fail(ErrorCode::exists, name + " is there");
    return kept;
  }
  Result<void> set_entry(Key, const profile::KeyEntry&) override { return {}; }
  Result<bool> has_value(Key key, const std::string& name) override {
    return ::RegQueryValueExW(keys_[key], win::widen(name).c_str(), nullptr, nullptr, nullptr, nullptr) ==
           ERROR_SUCCESS;
  }
  Result<void> set_value(Key key, const std::string& name, std::uint32_t type, ByteView data) override {
    const auto status =
        ::RegSetValueExW(keys_[key], win::widen(name).c_str(), 0, type,
                         reinterpret_cast<const BYTE*>(data.data()), static_cast<DWORD>(data.size()));
    if (status != ERROR_SUCCESS) return fail(registry_error(status, name));
    return {};
  }
  Result<void> delete_key(Key key) override {
    const auto status = ::RegDeleteTreeW(keys_[key], nullptr);
    if (status != ERROR_SUCCESS) return fail(registry_error(status, "deleting a key"));
    return {};
  }
  Result<void> delete_value(Key key, const std::string& name) override {
    ::RegDeleteValueW(keys_[key], win::widen(name).c_str());
    return {};
  }
  Result<Listing> enumerate(Key key) override {
    Listing listing;
    std::wstring name(16384, L'\0');
    for (DWORD i = 0;; ++i) {
      auto units = static_cast<DWORD>(name.size());
      if (::RegEnumKeyExW(keys_[key], i, name.data(), &units, nullptr, nullptr, nullptr, nullptr) !=
          ERROR_SUCCESS)
        break;
      listing.subkeys.push_back(win::narrow(name.substr(0, units)));
    }
    for (DWORD i = 0;; ++i) {
      auto units = static_cast<DWORD>(name.size());
      if (::RegEnumValueW(keys_[key], i, name.data(), &units, nullptr, nullptr, nullptr, nullptr) !=
          ERROR_SUCCESS)
        break;
      listing.values.push_back(win::narrow(name.substr(0, units)));
    }
    return listing;
  }
  Result<extract::ItemIdentity> save() override {
    RS_TRY(const auto file, volume_.files().open(volume_.native_path(path_), os::OpenMode::create));
    RS_TRY(const auto item, volume_.stat(path_));
    return extract::ItemIdentity{item.record, 0, 0};
  }

 private:
  Key keep(HKEY key) {
    keys_.push_back(key);
    return keys_.size() - 1;
  }
  ProfileVolume& volume_;
  const std::string path_, root_;
  std::vector<HKEY> keys_;
};

}  // namespace

Result<std::unique_ptr<MountedHive>> LiveKeysPort::mount(const std::string& path, const profile::Entry&) {
  return std::unique_ptr<MountedHive>(std::make_unique<Hive>(volume_, path, root_));
}

Result<std::unique_ptr<MountedHive>> LiveKeysPort::make(const std::string& path, const profile::Entry&,
                                                        const profile::KeyEntry&) {
  return std::unique_ptr<MountedHive>(std::make_unique<Hive>(volume_, path, root_));
}

}  // namespace roamstead::agent::testing
