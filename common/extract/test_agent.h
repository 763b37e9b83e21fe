// An agent for tests: publishes a base tree lazily onto a test desktop's volume and keeps the provenance
// journal, by the laws in provenance.h. What programs do goes through it, as it goes through the real agent.
#pragma once

#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include "common/extract/test_desktop.h"

namespace roamstead::extract {

// What programs do to a profile. Paths are relative to its root.
class TestPrograms {
 public:
  virtual ~TestPrograms() = default;
  virtual void make_directory(const std::string& path) = 0;
  virtual void write(const std::string& path, const std::string& stream, std::uint64_t offset,
                     ByteView data) = 0;
  virtual void truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) = 0;
  virtual void remove(const std::string& path) = 0;
  virtual void remove_stream(const std::string& path, const std::string& stream) = 0;
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void set_metadata(const std::string& path, const profile::Metadata& metadata) = 0;
  virtual std::uint32_t attributes(const std::string& path) = 0;  // that roam
};

// Straight onto the volume.
class DirectPrograms : public TestPrograms {
 public:
  explicit DirectPrograms(TestDesktop& desktop) : desktop_(desktop) {}
  void make_directory(const std::string& path) override;
  void write(const std::string& path, const std::string& stream, std::uint64_t offset,
             ByteView data) override;
  void truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) override;
  void remove(const std::string& path) override;
  void remove_stream(const std::string& path, const std::string& stream) override;
  void rename(const std::string& from, const std::string& to) override;
  void set_metadata(const std::string& path, const profile::Metadata& metadata) override;
  std::uint32_t attributes(const std::string& path) override;

 protected:
  static std::string on_volume(const std::string& path) {
    return path.empty() ? kTestRoot : std::string(kTestRoot) + "/" + path;
  }
  TestDesktop& desktop_;
};

class TestAgent final : public DirectPrograms {
 public:
  struct Killed : std::runtime_error {
    Killed() : std::runtime_error("killed by the test") {}
  };

  TestAgent(TestDesktop& desktop, TestTree& base);
  const Guid& session() const { return session_; }

  void make_directory(const std::string& path) override;
  void write(const std::string& path, const std::string& stream, std::uint64_t offset,
             ByteView data) override;
  void truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes) override;
  void remove(const std::string& path) override;
  void remove_stream(const std::string& path, const std::string& stream) override;
  void rename(const std::string& from, const std::string& to) override;
  void set_metadata(const std::string& path, const profile::Metadata& metadata) override;
  std::uint32_t attributes(const std::string& path) override;

  void populate(const std::string& path);  // one directory, after those above it
  void load(const std::string& path, const std::string& stream, std::uint64_t offset, std::uint64_t length);
  // Makes a file that is loaded a placeholder whose bytes are gone, as the Cloud Files filter leaves it: with
  // its reparse point, all zero. Nothing where not all of it is loaded, or a program has changed it ever.
  void dehydrate(const std::string& path);
  void flush_tags();
  // Everything that was not flushed is forgotten; the journal is replayed.
  void restart();
  // The n-th naming of an item from now on throws Killed instead.
  void kill_before_name(int count) { names_left_ = count; }

 private:
  struct Stream {
    std::uint64_t base_limit = 0;
    std::set<std::uint64_t> loaded;             // blocks
    std::map<std::uint64_t, BlockTag> pending;  // tags not in the journal yet
  };
  struct Item {
    ItemId id = 0;
    std::string base_path;
    bool populated = false;
    bool recovered = false;
    std::map<std::string, Stream> streams;
  };

  Item* find(const std::string& path);
  void note_change(const std::string& path);
  void populate_above(const std::string& path);
  void journal(const Bytes& record) { unflushed_.insert(unflushed_.end(), record.begin(), record.end()); }
  void flush_journal();
  void stage(const TestNode& node, const std::string& base_path);
  static std::string staged(ItemId id) { return "ProgramData/Roamstead/staging/" + std::to_string(id); }

  const Guid session_ = Guid::random();
  TestTree base_;
  std::map<std::uint64_t, Item> items_;           // by MFT record
  std::map<std::string, std::uint64_t> by_base_;  // base path -> MFT record
  std::set<ItemId> changed_;                      // by programs; Windows keeps that on the volume
  ItemId next_id_ = 1;
  std::uint64_t journal_bytes_ = 0;  // on the volume
  Bytes unflushed_;
  int names_left_ = -1;
};

}  // namespace roamstead::extract
