// The registry half of a profile: hives as trees of keys, and what changes in them.
//
// A user has two hives. In the profile they are no files: each is an entry of kind `registry` in its
// directory, with keys of its own below it. Key paths are names separated by '\', relative to the hive's
// root, which is
// "". Names compare without regard to case (compare_names).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/profile/path.h"

namespace roamstead::profile {

inline constexpr std::size_t kMaxKeyDepth = 512;
inline constexpr std::size_t kMaxKeyNameUnits = 255;  // UTF-16
inline constexpr std::size_t kMaxValueNameUnits = 16383;
inline constexpr std::size_t kMaxKeySecurityBytes = 64u << 10;
inline constexpr std::size_t kMaxClassBytes = 64u << 10;
// Data up to this length is part of records and replies; longer data travels and is kept as content.
inline constexpr std::size_t kMaxInlineValueBytes = 4096;
inline constexpr std::uint64_t kMaxValueBytes = std::uint64_t{1} << 31;  // no hive is larger

class KeyPath {
 public:
  KeyPath() = default;  // the hive's root
  // Names are well-formed WTF-8 of 1 to 255 UTF-16 units, of any characters but '\' (NUL too: Windows lets
  // programs make such keys); at most kMaxKeyDepth of them.
  static Result<KeyPath> parse(std::string_view text);

  bool is_root() const { return text_.empty(); }
  const std::string& text() const { return text_; }
  std::string_view name() const;                     // the last one; "" for the root
  KeyPath parent() const;                            // the root's parent is the root
  KeyPath child(std::string_view name) const;        // the name must be checked
  std::vector<std::string_view> components() const;  // views into this object
  std::size_t depth() const;
  // Whether this is `other` or lies below it; case counts.
  bool is_within(const KeyPath& other) const;

  // As text, with case. Parents come before what is below them.
  bool operator==(const KeyPath&) const = default;
  auto operator<=>(const KeyPath&) const = default;

  template <class Archive>
  std::string save_minimal(const Archive&) const {
    return text_;
  }
  template <class Archive>
  void load_minimal(const Archive&, const std::string& text) {
    assign_checked(text);
  }

 private:
  void assign_checked(const std::string& text);
  std::string text_;
};

// The path under which paths that differ in case alone meet: every name upcased, WTF-8.
std::string upcased(const KeyPath& path);

Result<void> check_key_name(std::string_view name);
Result<void> check_value_name(std::string_view name);  // "" is the default value

// What a hive knows of a key besides its values and subkeys.
struct KeyEntry {
  Bytes class_name;  // UTF-16LE
  std::uint64_t written_100ns = 0;
  Bytes security;  // self-relative security descriptor

  bool operator==(const KeyEntry&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(class_name, written_100ns, security);
  }
};

struct RegistryValue {
  std::string name;        // WTF-8; "" is the default value
  std::uint32_t type = 0;  // REG_…, any number
  std::uint64_t size_bytes = 0;
  Bytes data;  // all of it when size_bytes <= kMaxInlineValueBytes, else empty

  bool is_inline() const { return size_bytes <= kMaxInlineValueBytes; }
  bool operator==(const RegistryValue&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, type, size_bytes, data);
  }
};

// A key and everything below it, as the tree before the batch has them. One that is not there is no error,
// and neither is a deleted value that is not: a desktop cannot always know.
//
// `hive` is always a path in the tree after the batch: hives do not move while keys in them change.
struct DeleteKey {
  ProfilePath hive;
  KeyPath key;  // not the root

  bool operator==(const DeleteKey&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(hive, key);
  }
};

// Makes a key what `entry` says, sets `values` and deletes `deleted_values`. Its other values and its subkeys
// stay, unless the batch deletes the key too (then it is made anew). Its parent is there or is put in the
// same batch. Content of values that are not inline: stream i of the record is value i.
struct PutKey {
  ProfilePath hive;
  KeyPath key;
  KeyEntry entry;
  // The desktop had never seen the key: where the tree has it, its class and security stay.
  bool merge = false;
  std::vector<RegistryValue> values;
  std::vector<std::string> deleted_values;

  bool operator==(const PutKey&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(hive, key, entry, merge, values, deleted_values);
  }
};

// Refuse what contradicts itself: names, sizes, one value twice.
Result<void> check_record(const DeleteKey& record);
Result<void> check_record(const PutKey& record);

// A key as a version has it.
struct KeyState {
  KeyPath path;
  KeyEntry entry;
  // Whether `values` are all it has and all its subkeys are listed too; else it is known by its entry alone.
  bool complete = false;
  std::vector<RegistryValue> values;

  bool operator==(const KeyState&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(path, entry, complete, values);
  }
};

enum class KeyScope : std::uint8_t {
  key = 0,               // the key complete, its subkeys by their entries
  subtree = 1,           // everything below complete
  subtree_if_small = 2,  // the same when it fits one answer, else as `key`
};

// Part of an answer. A key may come before its parent; each comes once.
struct KeyStates {
  std::vector<KeyState> keys;
  std::string next;  // ask again with it for what follows; "": that was all

  template <class Archive>
  void serialize(Archive& archive) {
    archive(keys, next);
  }
};

// Which of a profile's files are hives, and which belong to one: its logs and transaction files, which have
// no life of their own and are never part of a profile.
enum class HiveFile : std::uint8_t { none, hive, companion };
HiveFile classify_hive_file(std::string_view path_in_profile);
// NTUSER.DAT and UsrClass.dat, as Windows writes them.
const std::vector<ProfilePath>& hive_paths();

// Keys that stay on the desktop where they were made; path within any hive, with everything below it.
bool is_excluded_key(const ProfilePath& hive, const KeyPath& key);

}  // namespace roamstead::profile
