# Build: the sources and the packages they use become dist/, and only that goes into the second stage. Run as any non-root user with a
# read-only root: the process writes nothing except, if it makes its own certificate, below --cert-dir (mount an emptyDir there).

FROM node:24-bookworm-slim AS build
WORKDIR /kexer
COPY package.json package-lock.json .npmrc ./
# No scripts: the pinned `node` package serves machines whose own Node is older, this image brings the right one.
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY build ./build
COPY src ./src
RUN npm run build

FROM node:24-bookworm-slim
WORKDIR /kexer
ENV NODE_ENV=production
COPY --from=build /kexer/package.json ./
COPY --from=build /kexer/dist ./dist
USER 65532:65532
EXPOSE 6443
ENTRYPOINT ["node", "/kexer/dist/main.js"]
CMD ["serve"]
