// A hive in the registry of this Windows, by the native interface.
//
// Links are keys here and are never followed. Volatile keys cannot be told from others. Used with the
// privileges of backup and restore, so that what users deny the system can be read and set.
#pragma once

#include <mutex>

#include "agent/core/loaded_hive.h"
#include "agent/win/base/handle.h"
#include "agent/win/registry/native_registry.h"

namespace roamstead::agent {

// Thread-safe.
class NativeHive final : public LoadedHive {
 public:
  struct Options {
    std::wstring root;           // "\Registry\User\S-1-5-…"
    bool keeps_security = true;  // false: security and key times are neither read nor set (Wine keeps none)
  };
  // ErrorCode::not_found when there is no such key, and it is not to be made.
  static Result<std::unique_ptr<NativeHive>> open(Options options, bool make);
  ~NativeHive() override;

  Result<std::uint64_t> written(const profile::KeyPath& key) override;
  Result<Content> read(const profile::KeyPath& key, bool security) override;
  Result<bool> has_value(const profile::KeyPath& key, const std::string& name) override;
  Result<void> create(const profile::KeyPath& key, const profile::KeyEntry& entry) override;
  Result<void> set_security(const profile::KeyPath& key, ByteView descriptor) override;
  Result<void> set_written(const profile::KeyPath& key, std::uint64_t time_100ns) override;
  Result<void> set_value(const profile::KeyPath& key, const std::string& name, std::uint32_t type,
                         ByteView data) override;
  Result<void> delete_key(const profile::KeyPath& key) override;
  Result<void> delete_value(const profile::KeyPath& key, const std::string& name) override;
  Result<void> flush() override;

  // Whether anything may have changed since the last call that said so; true the first time.
  bool changed();

 private:
  using Shared = std::shared_ptr<win::Handle>;

  NativeHive(const win::NativeRegistry& native, Options options)
      : native_(native), options_(std::move(options)) {}
  Result<Shared> open_key(const profile::KeyPath& key, bool write);
  Result<std::uint64_t> written_of(const profile::KeyPath& key, HANDLE handle);
  Result<Content> read_once(const profile::KeyPath& key, HANDLE handle, bool security);
  Result<void> read_subkeys(HANDLE handle, Content& content);
  Result<void> read_values(HANDLE handle, Content& content);
  Result<Bytes> read_security(HANDLE handle);
  Result<void> delete_below(HANDLE parent, const std::wstring& name, std::size_t depth);
  Result<win::Handle> open_below(HANDLE parent, std::wstring_view name, ACCESS_MASK access);
  tl::unexpected<Error> error(const profile::KeyPath& key, const char* what, NTSTATUS status);

  const win::NativeRegistry& native_;
  const Options options_;
  win::Handle root_;
  std::mutex mutex_;  // the key that was written last: many values are set one after the other
  profile::KeyPath kept_path_;
  Shared kept_;
  std::mutex watch_mutex_;
  win::Handle watch_event_;
  bool watching_ = false;
};

}  // namespace roamstead::agent
