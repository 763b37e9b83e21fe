// A file system in memory that can lose power: what was not synced is dropped, kept or torn at random.
//
// A simulation of the worst a POSIX file system may do: after a crash each unsynced write survives or not on
// its own (in 512-byte sectors, so large writes tear), sizes may be old or new, and names created, renamed or
// removed since the last sync_directory of their parent may be undone, each on its own but in order. Sectors
// themselves do not tear.
//
//   CrashFileSystem files;
//   run(files); auto points = files.operations();
//   for each n: CrashFileSystem again; again.crash_after(n); run(again) → error; again.power_loss(seed);
//   verify(again)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "common/os/file.h"

namespace roamstead::support {

// A file's bytes in pages that copies share until one of them writes: a run for each crash point starts from
// a copy.
class SharedPages {
 public:
  std::uint64_t size() const { return size_; }
  void resize(std::uint64_t size_bytes);
  std::size_t read(std::uint64_t offset, MutableByteView out) const;  // fewer at the end
  void write(std::uint64_t offset, ByteView data);

 private:
  static constexpr std::uint64_t kPageBytes = 64 << 10;
  std::byte* writable(std::uint64_t page);
  std::uint64_t size_ = 0;
  std::vector<std::shared_ptr<Bytes>> pages_;  // null: zeros
};

class CrashFileSystem final : public os::FileSystem {
 public:
  // Operations that change something (write, truncate, sync, rename, remove, create) so far.
  std::uint64_t operations() const;
  // The operation with this number (from 0) and all later ones fail and change nothing.
  void crash_after(std::uint64_t operation_count);
  // Whether an operation was refused since then. A run that needs just as many as it was given has not
  // crashed.
  bool crashed() const;
  // Drops what was not durable, by the seed's dice, and lets operations work again. Files still open are
  // dead.
  void power_loss(std::uint64_t seed);
  // A copy of the present (not only durable) state, to start a run from.
  std::unique_ptr<CrashFileSystem> clone() const;

  Result<std::unique_ptr<os::File>> open(const std::string& path, os::OpenMode mode) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> link(const std::string& from, const std::string& to) override;
  Result<bool> same_file(const std::string& a, const std::string& b) override;
  Result<void> remove(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list_directory(const std::string& path) override;
  Result<void> make_directories(const std::string& path) override;
  Result<void> sync_directory(const std::string& path) override;

 private:
  friend class CrashFile;
  struct Write {
    std::uint64_t offset;
    Bytes data;
    bool resize;  // a truncate to `offset` instead of data
  };
  // One inode: content now, content as of the last sync, and the writes between.
  struct Node {
    SharedPages content;
    SharedPages durable;
    std::vector<Write> pending;
    bool exclusively_locked = false;
    int shared_locks = 0;
  };
  using Names = std::map<std::string, std::shared_ptr<Node>>;
  struct NameChange {
    std::string directory;
    std::map<std::string, std::shared_ptr<Node>> effect;  // name -> node, null: gone
  };

  Result<void> count_operation();
  static void replay(SharedPages& content, const Write& write);

  mutable std::mutex mutex_;
  Names names_;
  Names durable_names_;
  std::vector<NameChange> pending_names_;
  std::map<std::string, bool> directories_;
  std::uint64_t operations_ = 0;
  std::uint64_t crash_at_ = ~std::uint64_t{0};
  bool refused_ = false;
  std::uint64_t generation_ = 0;  // grows with each power loss: open files of an older one are dead
};

}  // namespace roamstead::support
