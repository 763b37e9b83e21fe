// Changes a hive in memory, in place: what does not change keeps its bytes, and dirty() says which sectors a
// caller has to write. Keys are named by their cells; a cell stays a key's until the key is deleted or
// renamed.
//
// Every operation checks what it needs before it changes anything: an error leaves the hive as it was (but
// for room that was appended). Damage that it does not look at it cannot see: check() (check.h) sees all. Not
// thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/registry/cell_store.h"
#include "common/registry/hive.h"

namespace roamstead::registry {

// Refuses what is not a self-relative security descriptor of 20 to 65,536 bytes with its parts inside.
Result<void> check_descriptor(ByteView descriptor);

class Editor {
 public:
  // Refuses dirty hives (recover first) and those whose bins or cells do not fill the file.
  static Result<Editor> open(Bytes file, std::string name);
  // A hive with nothing but a root key. `descriptor` is its self-relative security descriptor.
  static Result<Editor> create(std::uint32_t minor_version, std::string_view root_name, ByteView descriptor,
                               std::uint64_t now_100ns);

  // The hive as it is now. Views of it (keys, names, data) end with the next change.
  const Hive& hive() const { return hive_; }
  // FILETIME that keys get when they change; by default the system's clock when the editor was opened.
  void set_time(std::uint64_t now_100ns) { now_100ns_ = now_100ns; }

  // The cell of the new key; ErrorCode::exists when there is one of that name. It shares its parent's
  // security.
  Result<std::uint32_t> create_key(std::uint32_t parent, std::u16string_view name);
  // Every missing key of a path ("A\\B") below `from`; the last one's cell.
  Result<std::uint32_t> create_path(std::uint32_t from, std::string_view path);
  // With all values and keys below it. Not the root.
  Result<void> delete_key(std::uint32_t key);
  // The key's new cell. Values and subkeys stay.
  Result<std::uint32_t> rename_key(std::uint32_t key, std::u16string_view name);
  Result<void> set_security(std::uint32_t key, ByteView descriptor);
  Result<void> set_class(std::uint32_t key, ByteView utf16le);
  Result<void> set_written(std::uint32_t key, std::uint64_t time_100ns);
  // Creates or replaces. Setting what is there already changes nothing, not even the key's time.
  Result<void> set_value(std::uint32_t key, std::u16string_view name, std::uint32_t type, ByteView data);
  // ErrorCode::not_found when there is none.
  Result<void> delete_value(std::uint32_t key, std::u16string_view name);

  // Moves both sequence numbers on and makes the checksum right, if anything changed. Call it before the
  // bytes are written.
  void finish();
  ByteView file() const { return cells_.file(); }
  // Ranges of the file that differ from what was opened, in sectors of 512 bytes.
  RangeSet dirty() const { return cells_.dirty(); }
  Bytes take() && { return std::move(cells_).take(); }

 private:
  Editor(CellStore cells, Hive hive) : cells_(std::move(cells)), hive_(std::move(hive)) {}
  void refresh();
  Result<std::uint32_t> allocate(std::size_t bytes, std::uint32_t near);

  // One leaf of a key's list of subkeys, and where in it a name is or belongs.
  struct Place {
    std::uint32_t leaf = kNoCell;
    std::size_t leaf_index = 0;  // in the index root
    std::size_t entry = 0;
    std::size_t count = 0;
    bool found = false;
  };
  struct IndexRoot {
    std::uint32_t cell = kNoCell;
    std::vector<std::uint32_t> leaves;
  };
  Result<IndexRoot> index_root(const Key& parent) const;
  Result<Place> place_of(const IndexRoot& index, std::u16string_view name) const;
  Result<std::size_t> leaf_count(std::uint32_t leaf) const;
  std::size_t entry_bytes(std::uint32_t leaf) const;
  void write_entry(std::uint32_t leaf, std::size_t entry, std::uint32_t key, std::u16string_view name);
  Result<std::uint32_t> new_leaf(std::uint32_t like, std::size_t count, std::uint32_t near);
  Result<void> write_index(std::uint32_t parent, IndexRoot index);
  Result<void> insert_subkey(std::uint32_t parent, std::uint32_t key, std::u16string_view name);
  Result<void> remove_subkey(std::uint32_t parent, std::u16string_view name, std::uint32_t key);
  void count_subkeys(std::uint32_t parent, std::int64_t change);

  Result<std::uint32_t> write_data(std::uint32_t near, ByteView data);
  Result<void> collect_data(const Value& value, std::vector<std::uint32_t>& cells) const;
  Result<void> collect_tree(const Key& top, std::vector<std::uint32_t>& cells,
                            std::vector<std::uint32_t>& securities) const;
  Result<void> replace_data(const Value& value, std::uint32_t type, ByteView data);
  Result<void> add_value(const Key& key, std::u16string_view name, std::uint32_t type, ByteView data);
  void raise(std::uint32_t key, std::size_t field, std::size_t bytes);
  void touch(std::uint32_t key);

  Result<void> read_securities();
  Result<std::uint32_t> hold_security(ByteView descriptor, std::uint32_t near);
  Result<void> change_references(std::uint32_t security, std::int64_t change);

  CellStore cells_;
  Hive hive_;
  std::uint64_t now_100ns_ = 0;
  bool securities_known_ = false;
  std::unordered_multimap<std::size_t, std::uint32_t> securities_;  // by hash of the descriptor
};

}  // namespace roamstead::registry
