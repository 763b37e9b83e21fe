// A registry hive on a frozen volume: which files it consists of, and what it holds once its logs, as they
// lie in the same snapshot, are applied.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/ntfs/volume.h"
#include "common/registry/hive.h"

namespace roamstead::extract {

// No user's hive comes near; it bounds what a volume can make us read into memory.
inline constexpr std::uint64_t kMaxHiveBytes = 256u << 20;
// Of all records that a hive could become, each key with its path, class, security and values.
inline constexpr std::uint64_t kMaxHiveRecordBytes = 512u << 20;
inline constexpr std::uint64_t kMaxHiveKeys = 750'000;

// Is this file, by its path in the profile, a hive or what belongs to one? Directories never are.
bool is_hive_file(const ntfs::FileRecord& file, std::string_view path_in_profile);
// By the path alone. Quick where it is not.
bool is_hive_path(std::string_view path_in_profile);
// Whether a hive's file has this name, wherever.
bool is_hive_name(std::string_view name);

struct HiveFiles {
  struct Log {
    std::string name;
    ntfs::FileRecord file;
  };
  std::optional<ntfs::FileRecord> hive;  // none: no such file
  std::vector<Log> logs;

  // Whether it is made of the same files, by reference.
  bool same_files(const HiveFiles& other) const;
  bool any_record(const std::function<bool(std::uint64_t)>& is) const;
};
// `path` on the volume, in any case. A directory there is no file. Errors: damage in the way to it, and of
// the disk below.
Result<HiveFiles> find_hive_files(const ntfs::Volume& volume, const std::string& path);

// A hive with its bytes.
class LoadedHive {
 public:
  LoadedHive(const LoadedHive&) = delete;
  LoadedHive& operator=(const LoadedHive&) = delete;
  const registry::Hive& hive() const { return *hive_; }
  // Whether each of its keys can be reached, once and by a name of its own. Then none of them was held back
  // when a batch was cut from it.
  bool keys_sound() const { return keys_sound_; }

  // Recovered. Refused, naming what is wrong: what is no hive, cannot be recovered, lies in a form that is
  // not read (compressed, encrypted, a link), or exceeds the bounds above.
  static Result<std::shared_ptr<const LoadedHive>> load(const ntfs::Volume& volume, const HiveFiles& files,
                                                        const std::string& name);
  // Without logs; refused when dirty or damaged. Of the bounds only the file's size is looked at.
  static Result<std::shared_ptr<const LoadedHive>> load_base(const ntfs::Volume& volume,
                                                             const HiveFiles& files, const std::string& name);

 private:
  LoadedHive() = default;
  static Result<std::shared_ptr<LoadedHive>> open(Bytes bytes, const std::string& name);

  Bytes bytes_;
  std::optional<registry::Hive> hive_;
  bool keys_sound_ = false;
};

// Whether all keys of a hive are sound. Refuses those that would become more than a batch should hold.
Result<bool> survey_keys(const registry::Hive& hive);

}  // namespace roamstead::extract
