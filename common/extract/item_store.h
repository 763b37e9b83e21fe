// What a provenance journal says of its items, packed: some 100 bytes for each published file or directory,
// for there may be a million, and a desktop's agent keeps them all as long as the session. An item's fixed
// part is a row; the rest, and everything that later records say of it, is a chain of short notes in one
// growing store, from which its state is put together when somebody asks. A name is kept once, its directory
// by the row that the directory's item has. What a note says stays, so the store also tells what it told when
// it was shorter.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

#include "common/extract/item_state.h"
#include "common/os/idle_memory.h"

namespace roamstead::extract {

// All of it can be put away while nobody asks. Not thread-safe by itself; const access is. Takes no more
// memory than twice the records it was given.
class ItemStore {
 public:
  using Row = std::uint32_t;  // in the order of publication
  static constexpr Row kNone = (Row{1} << 30) - 1;
  using Mark = std::uint32_t;  // an instant in the store's growth

  ItemStore();

  // Nothing but take_out() in between.
  void put_away() noexcept;
  void take_out();

  std::size_t size() const { return row_count_; }
  Mark now() const { return next_note_; }

  // kNone: none. The last two pass over withdrawn items; of several the latest counts.
  Row find(ItemId id) const;
  Row find_by_record(std::uint64_t record) const;
  Row find_by_base(std::string_view path) const;

  ItemId id(Row row) const { return at(row).id; }
  bool withdrawn(Row row) const { return at(row).withdrawn; }
  std::uint64_t record(Row row) const { return at(row).file >> 16; }
  std::uint32_t last_record_at(Row row) const { return at(row).last_record_at; }
  profile::ProfilePath base_path(Row row) const;
  // As it was at `mark`, which must not be before it was published; only last_record_at is always the latest.
  ItemState state(Row row, Mark mark) const;

  // The item's id is greater than all before. These fail, and change nothing, with ErrorCode::corrupt where
  // the store would outgrow its bounds.
  Result<void> publish(const ItemState& item);
  Result<void> populate(Row row);
  Result<void> withdraw(Row row);
  Result<void> load(Row row, std::string_view stream, std::uint64_t first_block,
                    const std::vector<BlockTag>& tags);
  Result<void> limit(Row row, std::string_view stream, std::uint64_t limit_bytes);
  Result<void> identify(Row row, const ItemIdentity& identity);
  Result<void> dehydrate(Row row);
  void set_last_record_at(Row row, std::uint32_t offset) { at(row).last_record_at = offset; }

 private:
  struct Item {
    ItemId id = 0;
    std::uint64_t file = 0;  // MFT record, and 16 bits of sequence number
    Mark published = 0;      // its first note
    Mark last_note = 0;
    std::uint32_t path_hash = 0;
    std::uint32_t last_record_at = 0;
    std::uint32_t directory : 30 = 0;  // row of the item at its base path's parent; kNone: the name is a path
    std::uint32_t populated : 1 = 0;
    std::uint32_t withdrawn : 1 = 0;
  };
  // Rows by a hash that they know themselves: open addressing.
  class Table {
   public:
    Table() { grow_to(kFirstSlots); }
    os::IdleMemory& memory() { return memory_; }
    template <class Hash, class Same>
    Row find(std::uint32_t hash, const Hash& hash_of, const Same& same) const;
    template <class Hash>
    void insert(Row row, const Hash& hash_of);
    template <class Hash>
    void replace(Row old, Row row, const Hash& hash_of);
    template <class Hash>
    void erase(Row row, const Hash& hash_of);

   private:
    static constexpr std::size_t kFirstSlots = 64;
    os::IdleMemory grow_to(std::size_t slots);  // empty; what there was before
    Row* slots() const { return reinterpret_cast<Row*>(memory_.data()); }

    os::IdleMemory memory_;
    std::size_t slot_count_ = 0;  // a power of two
    std::size_t used_ = 0;
  };
  class Note;

  static constexpr std::size_t kRowsAtOnce = 16'384;
  static_assert(std::is_trivially_copyable_v<Item>);
  static constexpr std::size_t kNoteBits = 20;  // of a note's place in its piece of the store

  template <class Function>
  void with_memory(Function&& function);  // of all that there is
  Item& place(Row row) const {
    return reinterpret_cast<Item*>(rows_[row / kRowsAtOnce].data())[row % kRowsAtOnce];
  }
  const Item& at(Row row) const { return place(row); }
  Item& at(Row row) { return place(row); }
  const std::byte* note(Mark mark) const;
  Result<Mark> add_note(ByteView note);
  Result<void> add_note_to(Row row, const Note& note);
  std::string_view name(Row row) const;
  bool has_path(Row row, std::string_view path) const;
  std::uint32_t hash(std::string_view path) const;
  std::uint32_t hash(std::uint64_t record) const;
  Row row_at_path(std::string_view path, std::uint32_t hash) const;
  void forget_record(Row row);
  void remember_record(Row row);
  std::uint32_t intern_security(const Bytes& security);

  std::vector<os::IdleMemory> rows_;
  std::size_t row_count_ = 0;
  std::vector<os::IdleMemory> pieces_;
  std::size_t piece_bytes_ = 0;  // of the last one
  Mark next_note_ = 0;
  std::map<Bytes, std::uint32_t> security_numbers_;
  std::vector<const Bytes*> securities_;
  Table by_record_, by_base_;
  // Who writes the journal shall not choose what collides.
  std::uint64_t seed_ = 0;
};

}  // namespace roamstead::extract
