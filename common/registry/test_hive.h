// Hives and logs for tests and fuzzers, made here.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "common/base/text.h"
#include "common/registry/editor.h"
#include "common/registry/marvin32.h"

namespace roamstead::registry::test {

inline constexpr std::uint64_t kTime = 133000000000000000;

// The smallest self-relative descriptor; `control` tells one from another.
inline Bytes descriptor(unsigned control = 0) {
  Bytes bytes(20);
  bytes[0] = std::byte{1};
  store_le<std::uint16_t>(bytes, 2, static_cast<std::uint16_t>(0x8000 | control));
  return bytes;
}

// Some of everything: lists below an index (from 508 subkeys on), data of each kind, classes, two
// descriptors, wide names.
inline Bytes sample_hive(std::uint32_t minor_version = 5, int subkeys = 520,
                         std::size_t largest_data = 33000) {
  auto editor = Editor::create(minor_version, "ROOT", descriptor(), kTime).value();
  const auto root = editor.hive().root().value().cell;
  for (int i = 0; i < subkeys; ++i)
    if (!editor.create_path(root, "many\\" + std::to_string(i))) std::abort();
  const auto key = editor.create_path(root, "Software\\größe\\файл").value();
  for (const std::size_t size : {0u, 4u, 5u, 300u, 16344u, 16345u, 33000u})
    if (size <= largest_data &&
        !editor.set_value(key, to_utf16("v" + std::to_string(size)).value(), 3, Bytes(size, std::byte{7})))
      std::abort();
  if (!editor.set_security(key, descriptor(1)) ||
      !editor.set_class(key, std::as_bytes(std::span(u"class", 5))))
    std::abort();
  editor.finish();
  return std::move(editor).take();
}

struct LogEntry {
  std::uint32_t sequence = 0;
  std::uint32_t bins_bytes = 0;
  std::vector<std::pair<std::uint32_t, Bytes>> pages;  // place relative to the first bin
};

// What differs between two states of a hive, page by page of 4 KiB, as one entry.
inline LogEntry entry_between(ByteView before, ByteView after, std::uint32_t sequence) {
  LogEntry entry{sequence, static_cast<std::uint32_t>(after.size()) - kBaseBlockBytes, {}};
  for (std::size_t at = kBaseBlockBytes; at < after.size(); at += kPageBytes) {
    const auto page = after.subspan(at, kPageBytes);
    if (at + kPageBytes > before.size() ||
        !std::equal(page.begin(), page.end(), before.begin() + static_cast<std::ptrdiff_t>(at)))
      entry.pages.push_back({static_cast<std::uint32_t>(at - kBaseBlockBytes), to_bytes(page)});
  }
  return entry;
}

inline void seal_entry(MutableByteView entry) {
  store_le<std::uint64_t>(entry, 24, marvin32(entry.subspan(40)));
  store_le<std::uint64_t>(entry, 32, marvin32(entry.first(32)));
}

inline Bytes log_header(ByteView hive, std::uint32_t sequence, std::uint32_t file_type) {
  auto log = to_bytes(hive.first(512));
  store_le<std::uint32_t>(log, 28, file_type);
  seal_base_block(log, sequence);
  return log;
}

inline Bytes new_log(ByteView hive, const std::vector<LogEntry>& entries) {
  auto log = log_header(hive, entries.front().sequence, kNewLogFile);
  for (const auto& entry : entries) {
    ByteWriter writer;
    writer.bytes(as_bytes("HvLE"));
    for (const std::uint32_t word : {0u, 0u, entry.sequence, entry.bins_bytes,
                                     static_cast<std::uint32_t>(entry.pages.size()), 0u, 0u, 0u, 0u})
      writer.le(word);
    for (const auto& [place, bytes] : entry.pages) {
      writer.le(place);
      writer.le(static_cast<std::uint32_t>(bytes.size()));
    }
    for (const auto& [place, bytes] : entry.pages) writer.bytes(bytes);
    auto whole = writer.take();
    whole.resize((whole.size() + 511) / 512 * 512);
    store_le<std::uint32_t>(whole, 4, static_cast<std::uint32_t>(whole.size()));
    seal_entry(whole);
    log.insert(log.end(), whole.begin(), whole.end());
  }
  return log;
}

// A log of the old format that takes `before` to `after`.
inline Bytes old_log(ByteView before, ByteView after, std::uint32_t sequence) {
  auto log = log_header(after, sequence, kOldLogFile);
  const auto pages = (after.size() - kBaseBlockBytes) / 512;
  Bytes bitmap(4 + pages / 8);
  std::memcpy(bitmap.data(), "DIRT", 4);
  Bytes content;
  for (std::size_t page = 0; page < pages; ++page) {
    const auto at = kBaseBlockBytes + page * 512;
    const auto bytes = after.subspan(at, 512);
    if (at + 512 <= before.size() &&
        std::equal(bytes.begin(), bytes.end(), before.begin() + static_cast<std::ptrdiff_t>(at)))
      continue;
    bitmap[4 + page / 8] |= static_cast<std::byte>(1u << (page % 8));
    content.insert(content.end(), bytes.begin(), bytes.end());
  }
  bitmap.resize((bitmap.size() + 511) / 512 * 512);
  log.insert(log.end(), bitmap.begin(), bitmap.end());
  log.insert(log.end(), content.begin(), content.end());
  return log;
}

// As a hive is while Windows writes it: the first sequence number is one ahead of `sequence`.
inline void make_dirty(Bytes& hive, std::uint32_t sequence) {
  seal_base_block(hive, sequence);
  store_le<std::uint32_t>(hive, 4, sequence + 1);
  store_le<std::uint32_t>(hive, 508, base_block_checksum(hive));
}

}  // namespace roamstead::registry::test
