// The few ciphers that Windows seals secrets with, over OpenSSL. All without padding: `data` is whole blocks.
#pragma once

#include "coordinator/join/secret.h"

namespace roamstead::join {

enum class Direction : bool { decrypt, encrypt };

// AES-256, each block for itself. Key: 32 bytes.
Result<SecretBytes> aes_blocks(ByteView key, ByteView data, Direction direction);
// DES over blocks of 8 bytes, each with the next 7 bytes of the key (MS-LSAD 5.1.2). Key: 16 bytes. Needs
// OpenSSL's legacy provider, which comes with Debian's libssl.
Result<SecretBytes> des_blocks(ByteView key, ByteView data, Direction direction);
// Needs the legacy provider too.
Result<SecretBytes> rc4(ByteView key, ByteView data);
// Of `head`, then a thousand times `salt`: how the boot key is stretched.
Result<SecretBytes> sha256_thousand(ByteView head, ByteView salt);
Result<SecretBytes> md5_thousand(ByteView head, ByteView salt);

}  // namespace roamstead::join
