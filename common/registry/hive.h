// A registry hive, read-only, over bytes held elsewhere: a file in memory, a mapping, a recovered copy.
// Everything in it is taken as hostile: every cell is checked before use, nothing is allocated by a length
// that is merely claimed, every loop ends. Reading never changes anything; a Hive may be used by several
// threads at once.
//
// What a hive says of itself may be damaged in one place and sound in all others. Lists therefore give what
// could be read together with the error, and `walk` goes on after a defect, reporting it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/registry/format.h"
#include "common/registry/name_view.h"

namespace roamstead::registry {

// Something that is not as it should be. Offsets are of the file.
struct Defect {
  std::uint64_t offset = 0;
  std::string path;  // of the key concerned, where there is one
  std::string what;
  std::string to_string() const;
};

// A key as its cell describes it. Views the hive's bytes.
struct Key {
  std::uint32_t cell = kNoCell;
  std::uint16_t flags = 0;
  std::uint64_t written_100ns = 0;
  std::uint32_t parent_cell = kNoCell;
  std::uint32_t subkey_count = 0;  // without volatile ones, which never are in a file
  std::uint32_t subkeys_cell = kNoCell;
  std::uint32_t value_count = 0;
  std::uint32_t values_cell = kNoCell;
  std::uint32_t security_cell = kNoCell;
  std::uint32_t class_cell = kNoCell;
  std::uint16_t class_bytes = 0;
  NameView name;
};

struct Value {
  std::uint32_t cell = kNoCell;
  NameView name;  // empty: the key's default value
  std::uint32_t type = 0;
  std::uint32_t data_bytes = 0;
  std::uint32_t data_cell = kNoCell;  // unless resident
  ByteView resident_data;             // up to 4 bytes inside the value's cell
  bool resident = false;
};

// One bit for each place where a cell can begin. Serves to visit nothing twice.
class CellSet {
 public:
  explicit CellSet(std::uint64_t bins_bytes) : bits_(static_cast<std::size_t>(bins_bytes / 512 + 1)) {}
  // False when it was there already.
  bool add(std::uint32_t cell) {
    auto& word = bits_[cell / 512];
    const auto bit = std::uint64_t{1} << (cell / 8 % 64);
    const bool added = (word & bit) == 0;
    word |= bit;
    return added;
  }
  void remove(std::uint32_t cell) { bits_[cell / 512] &= ~(std::uint64_t{1} << (cell / 8 % 64)); }
  bool contains(std::uint32_t cell) const { return (bits_[cell / 512] >> (cell / 8 % 64) & 1) != 0; }
  void grow(std::uint64_t bins_bytes) { bits_.resize(static_cast<std::size_t>(bins_bytes / 512 + 1)); }

 private:
  std::vector<std::uint64_t> bits_;
};

class TreeVisitor {
 public:
  virtual ~TreeVisitor() = default;
  // Returns whether to go into the key's values and subkeys. `path` is relative to where the walk began: ""
  // there, then "Software\\Classes".
  virtual bool enter(const Key& key, const std::string& path, std::uint32_t depth) = 0;
  virtual void value(const Key& /*key*/, const std::string& /*path*/, const Value& /*value*/,
                     ByteView /*data*/) {}
  virtual void leave(const Key& /*key*/, const std::string& /*path*/) {}
  virtual void defect(Defect /*defect*/) {}
};

class Hive {
 public:
  // Reads the base block and follows the chain of bins. Refuses what is not a hive of version 1.3 to 1.6;
  // what is damaged beyond that is listed in defects(). A dirty hive is opened as it is: whoever wants the
  // truth calls recover() before (recovery.h). `name` is for messages. The bytes must outlive the hive.
  static Result<Hive> open(ByteView file, std::string name);

  const BaseBlock& base() const { return base_; }
  const std::string& name() const { return name_; }
  const std::vector<Defect>& defects() const { return defects_; }
  // What cells lie in: as many whole bytes of the file as the base block claims.
  ByteView bins() const { return bins_; }

  Result<Key> root() const { return key(base_.root_cell); }
  Result<Key> key(std::uint32_t cell) const;
  // By a path of names separated by '\', without regard to case; "" is `from`, by default the root.
  // ErrorCode::not_found names the first part that is not there.
  Result<Key> find(std::string_view path) const;
  Result<Key> find(const Key& from, std::string_view path) const;
  Result<std::optional<Key>> find_subkey(const Key& parent, std::u16string_view name) const;
  Result<std::optional<Value>> find_value(const Key& key, std::u16string_view name) const;

  // Cells of subkeys or values are appended in the list's order. On an error what was read before it stays.
  // `seen` makes a list that was met before an error, so that a walk costs no more than the hive has bytes.
  Result<void> subkeys(const Key& key, std::vector<std::uint32_t>& cells, CellSet* seen = nullptr) const;
  Result<void> values(const Key& key, std::vector<std::uint32_t>& cells, CellSet* seen = nullptr) const;
  Result<Value> value(std::uint32_t cell) const;
  // The value's bytes: a view of the hive, or of `scratch` where they lie in pieces.
  Result<ByteView> data(const Value& value, Bytes& scratch, CellSet* seen = nullptr) const;
  Result<ByteView> class_name(const Key& key) const;  // UTF-16LE; empty when there is none
  // The self-relative security descriptor of a key.
  Result<ByteView> security(const Key& key) const;
  Result<ByteView> security_of_cell(std::uint32_t cell) const;

  // Every key below `from` once, with its values before its subkeys, in the lists' order. At most as much
  // memory as a fraction of the hive.
  void walk(const Key& from, TreeVisitor& visitor) const;

  // The content of a cell in use; its length is at least 4.
  Result<ByteView> cell(std::uint32_t offset) const;
  std::uint64_t file_offset(std::uint32_t cell) const { return std::uint64_t{kBaseBlockBytes} + cell; }

 private:
  friend class Walk;
  friend class Editor;
  Hive() = default;
  void follow_bins();
  Result<ByteView> signed_cell(std::uint32_t offset, std::string_view signature,
                               std::size_t least_bytes) const;
  Result<void> leaf(std::uint32_t list_cell, std::vector<std::uint32_t>& cells, std::size_t limit,
                    CellSet* seen) const;
  Result<std::optional<Key>> find_in_leaf(ByteView list, std::u16string_view name) const;
  Result<ByteView> big_data(ByteView header, const Value& value, Bytes& scratch, CellSet* seen) const;
  tl::unexpected<Error> bad(std::uint32_t cell, std::string what) const;

  ByteView bins_;
  const CellSet* starts_ = nullptr;  // where cells in use begin; known to an editor, which outlives this
  BaseBlock base_;
  std::string name_;
  std::vector<Defect> defects_;
};

}  // namespace roamstead::registry
