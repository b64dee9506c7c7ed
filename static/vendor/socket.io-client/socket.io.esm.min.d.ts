/* Ours: the pages use no more of it than this, and the library's own types are those of ten packages. */

export const io: (uri: string, options: object) => any;
