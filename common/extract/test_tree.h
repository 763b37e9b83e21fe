// A profile tree in memory for tests: what a batch means, in the most straightforward way.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/extract/test_keys.h"
#include "common/ntfs/volume.h"
#include "common/profile/batch.h"

namespace roamstead::extract {

struct TestNode {
  profile::Entry entry;
  std::map<std::string, Bytes> streams;  // "" is the unnamed one, of files only
  TestKeys keys;                         // of hives
  std::map<std::string, std::unique_ptr<TestNode>> children;

  bool is_directory() const { return entry.is_directory(); }
  std::unique_ptr<TestNode> clone() const;
};

class TestTree {
 public:
  TestTree();
  TestTree(const TestTree& other) : root_(other.root_->clone()) {}
  TestTree& operator=(const TestTree& other);

  TestNode& root() { return *root_; }
  TestNode* find(const std::string& path);
  TestNode& at(const std::string& path);  // throws when missing
  TestNode& make_directory(const std::string& path);
  TestNode& make_file(const std::string& path, ByteView content);
  TestNode& make_hive(const std::string& path, TestKeys keys);
  std::unique_ptr<TestNode> take(const std::string& path);            // throws when missing
  void put(const std::string& path, std::unique_ptr<TestNode> node);  // throws when taken, or without parent
  // Sizes in the entries set from the streams.
  void settle();

  // By the words of common/profile/batch.h. Throws on what cannot be applied.
  void apply(const profile::Batch& batch, profile::ContentSource& content);

  // Every path with all that a profile holds of it, for comparison. Write times of directories are left out.
  std::map<std::string, std::string> describe();

 private:
  void apply_keys(const profile::Batch& batch, profile::ContentSource& content);

  std::unique_ptr<TestNode> root_;
};

// What the volume holds below `root`.
TestTree read_tree(const ntfs::Volume& volume, const std::string& root);

// Lines that say where the two differ; empty: equal.
std::string difference(TestTree& expected, TestTree& actual);

std::string describe(const profile::Batch& batch);

}  // namespace roamstead::extract
