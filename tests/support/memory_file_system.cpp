#include "tests/support/memory_file_system.h"

#include <algorithm>

namespace roamstead::support {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
const Bytes kZeros(kPageBytes);
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 46;  // as a real file system has a limit

}  // namespace

class MemoryFile final : public os::File {
 public:
  MemoryFile(std::shared_ptr<MemoryFileSystem::Node> node, std::string path, bool writable)
      : node_(std::move(node)), path_(std::move(path)), writable_(writable) {}
  ~MemoryFile() override {
    if (locked_exclusively_) node_->exclusively_locked = false;
    if (locked_shared_) --node_->shared_locks;
  }

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
    if (offset >= node_->size) return std::size_t{0};
    out = out.first(std::min<std::uint64_t>(out.size(), node_->size - offset));
    std::fill(out.begin(), out.end(), std::byte{0});
    auto it = node_->pages.lower_bound(offset / kPageBytes);
    for (; it != node_->pages.end() && it->first * kPageBytes < offset + out.size(); ++it) {
      auto start = std::max(offset, it->first * kPageBytes);
      auto end = std::min(offset + out.size(), (it->first + 1) * kPageBytes);
      std::copy_n(it->second->begin() + static_cast<std::ptrdiff_t>(start % kPageBytes), end - start,
                  out.begin() + static_cast<std::ptrdiff_t>(start - offset));
    }
    return out.size();
  }

  Result<void> write_at(std::uint64_t offset, ByteView data) override {
    RS_CHECK(check_writable(offset + data.size()));
    node_->size = std::max(node_->size, offset + data.size());
    while (!data.empty()) {
      auto in_page = offset % kPageBytes;
      auto count = std::min<std::uint64_t>(data.size(), kPageBytes - in_page);
      auto& page = node_->pages[offset / kPageBytes];
      if (page != nullptr || as_text(data.first(count)) != as_text(ByteView(kZeros).first(count))) {
        auto changed = page ? std::make_shared<Bytes>(*page) : std::make_shared<Bytes>(kPageBytes);
        std::copy_n(data.begin(), count, changed->begin() + static_cast<std::ptrdiff_t>(in_page));
        page = std::move(changed);
      }
      if (page == nullptr) node_->pages.erase(offset / kPageBytes);
      offset += count;
      data = data.subspan(count);
    }
    return {};
  }

  Result<void> truncate(std::uint64_t size_bytes) override {
    RS_CHECK(check_writable(size_bytes));
    if (size_bytes < node_->size) {
      auto number = size_bytes / kPageBytes;
      node_->pages.erase(node_->pages.lower_bound(number + (size_bytes % kPageBytes != 0 ? 1 : 0)),
                         node_->pages.end());
      if (auto last = node_->pages.find(number); last != node_->pages.end()) {
        auto cut = std::make_shared<Bytes>(*last->second);
        std::fill(cut->begin() + static_cast<std::ptrdiff_t>(size_bytes % kPageBytes), cut->end(),
                  std::byte{0});
        last->second = std::move(cut);
      }
    }
    node_->size = size_bytes;
    return {};
  }

  Result<std::uint64_t> size() const override { return node_->size; }
  Result<void> sync() override { return {}; }
  Result<void> lock(bool exclusive) override {
    if (node_->exclusively_locked || (exclusive && node_->shared_locks > 0))
      return fail(ErrorCode::busy, path_ + ": in use by another program");
    if (exclusive) {
      locked_exclusively_ = node_->exclusively_locked = true;
    } else {
      locked_shared_ = true;
      ++node_->shared_locks;
    }
    return {};
  }
  const std::string& path() const override { return path_; }

 private:
  Result<void> check_writable(std::uint64_t end) const {
    if (!writable_) return fail(ErrorCode::denied, path_ + ": opened for reading only");
    if (end > kMaxFileBytes) return fail(ErrorCode::full, path_ + ": larger than a file may be");
    return {};
  }

  std::shared_ptr<MemoryFileSystem::Node> node_;  // shared with the directory and other open files
  std::string path_;
  bool writable_;
  bool locked_exclusively_ = false;
  bool locked_shared_ = false;
};

std::unique_ptr<MemoryFileSystem> MemoryFileSystem::clone() const {
  auto copy = std::make_unique<MemoryFileSystem>();
  std::map<const Node*, std::shared_ptr<Node>> copies;  // hard links stay links
  for (const auto& [name, node] : names_) {
    auto& fresh = copies[node.get()];
    if (!fresh) {
      fresh = std::make_shared<Node>();
      fresh->pages = node->pages;
      fresh->size = node->size;
    }
    copy->names_[name] = fresh;
  }
  copy->directories_ = directories_;
  return copy;
}

Result<std::unique_ptr<os::File>> MemoryFileSystem::open(const std::string& path, os::OpenMode mode) {
  auto it = names_.find(path);
  if (it == names_.end()) {
    if (mode == os::OpenMode::read || mode == os::OpenMode::read_write)
      return fail(ErrorCode::not_found, path + ": no such file");
    it = names_.emplace(path, std::make_shared<Node>()).first;
  } else if (mode == os::OpenMode::create_new) {
    return fail(ErrorCode::exists, path + ": exists");
  }
  return std::make_unique<MemoryFile>(it->second, path, mode != os::OpenMode::read);
}

Result<void> MemoryFileSystem::rename(const std::string& from, const std::string& to) {
  auto it = names_.find(from);
  if (it == names_.end()) return fail(ErrorCode::not_found, from + ": no such file");
  auto node = it->second;
  names_.erase(it);
  names_[to] = std::move(node);
  return {};
}

Result<void> MemoryFileSystem::link(const std::string& from, const std::string& to) {
  auto it = names_.find(from);
  if (it == names_.end()) return fail(ErrorCode::not_found, from + ": no such file");
  if (!names_.emplace(to, it->second).second) return fail(ErrorCode::exists, to + ": exists");
  return {};
}

Result<bool> MemoryFileSystem::same_file(const std::string& a, const std::string& b) {
  auto first = names_.find(a), second = names_.find(b);
  if (first == names_.end()) return fail(ErrorCode::not_found, a + ": no such file");
  if (second == names_.end()) return fail(ErrorCode::not_found, b + ": no such file");
  return first->second == second->second;
}

Result<void> MemoryFileSystem::remove(const std::string& path) {
  if (directories_.erase(path) != 0 || names_.erase(path) != 0) return {};
  return fail(ErrorCode::not_found, path + ": no such file");
}

Result<bool> MemoryFileSystem::exists(const std::string& path) {
  return names_.count(path) != 0 || directories_.count(path) != 0;
}

Result<std::vector<std::string>> MemoryFileSystem::list_directory(const std::string& path) {
  std::vector<std::string> found;
  for (const auto& [name, node] : names_)
    if (os::parent_directory(name) == path) found.push_back(os::base_name(name));
  for (const auto& [name, there] : directories_)
    if (there && name != path && os::parent_directory(name) == path) found.push_back(os::base_name(name));
  std::sort(found.begin(), found.end());
  return found;
}

Result<void> MemoryFileSystem::make_directories(const std::string& path) {
  for (auto name = path; name != "." && name != "/"; name = os::parent_directory(name))
    directories_[name] = true;
  return {};
}

Result<void> MemoryFileSystem::sync_directory(const std::string&) { return {}; }

}  // namespace roamstead::support
